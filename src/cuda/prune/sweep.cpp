#include "cuda/prune/sweep.h"

#include <algorithm>
#include <map>
#include <utility>

#include "coppice/cancel.h"
#include "cuda/prune/kernels.h"
#include "cuda/prune/selector.h"
#include "cuda/prune/transfer.h"

namespace coppice::cuda {
namespace {

using prune::ColumnBlock;
using prune::JointGroup;
using prune::KeptSets;
using prune::ObsSweep;

/// What the joint choices read, in device memory.
class JointTables {
 public:
  explicit JointTables(const ObsSweep& sweep);
  /// Scratch for all rows, and what the group's choice reads; not what it writes.
  JointArguments arguments(std::size_t group) const { return arguments_[group]; }

 private:
  std::vector<JointArguments> arguments_;  // of each group
  std::map<const KeptSets*, std::pair<DeviceBuffer, DeviceBuffer>> sets_;
  DeviceBuffer vectors_, numbers_, gradients_, savings_;
};

JointTables::JointTables(const ObsSweep& sweep) : arguments_(sweep.grid().groups().size()) {
  const Grid& grid = sweep.grid();
  vectors_ = upload(grid.vectors());
  std::vector<double> numbers;
  std::int64_t most_sets = 0;
  for (std::size_t g = 0; g < arguments_.size(); ++g) {
    const JointGroup* joint = sweep.joint(g);
    if (joint == nullptr) continue;
    const KeptSets& sets = joint->sets();
    auto [at, added] = sets_.try_emplace(&sets);
    if (added)
      at->second = {upload(std::span<const std::uint8_t>(sets.columns)),
                    upload(std::span<const std::uint16_t>(sets.outer))};
    JointArguments& a = arguments_[g];
    a.vectors = vectors_.as<RowVector>();
    a.vector_count = static_cast<std::int32_t>(grid.vectors().size());
    a.cols = sets.cols;
    a.kept = sets.kept;
    a.per_outer = sets.per_outer;
    a.sets = static_cast<std::int32_t>(sets.sets());
    a.outers = static_cast<std::int32_t>(sets.outers());
    a.columns = at->second.first.as<std::uint8_t>();
    a.outer = at->second.second.as<std::uint16_t>();
    most_sets = std::max<std::int64_t>(most_sets, a.sets);
    for (const std::vector<double>* part :
         {&joint->inverse(), &joint->curvature(), &joint->set_factors()})
      numbers.insert(numbers.end(), part->begin(), part->end());
  }
  numbers_ = upload(std::span<const double>(numbers));
  gradients_ = device_array<double>(most_sets > 0 ? grid.rows() * kMaxJointCols : 0);
  savings_ = device_array<double>(most_sets * grid.rows());
  const double* next = numbers_.as<double>();
  for (std::size_t g = 0; g < arguments_.size(); ++g) {
    const JointGroup* joint = sweep.joint(g);
    if (joint == nullptr) continue;
    JointArguments& a = arguments_[g];
    a.inverse = std::exchange(next, next + joint->inverse().size());
    a.curvature = std::exchange(next, next + joint->curvature().size());
    a.factors = std::exchange(next, next + joint->set_factors().size());
    a.gradients = gradients_.as<double>();
    a.savings = savings_.as<double>();
  }
}

/// ObsSweep::run, step by step.
class DeviceSweep {
 public:
  DeviceSweep(const ObsSweep& sweep, const Algebra& algebra, int threads, const float* upper,
              float* weights, std::uint8_t* keep)
      : sweep_(sweep),
        grid_(sweep.grid()),
        algebra_(algebra),
        tables_(sweep),
        selector_(grid_, sweep.search(), threads),
        factors_(upload(std::span<const double>(sweep.saliency_factors()))),
        errors_(device_array<float>(grid_.rows() * sweep.widest_block())),
        scores_(device_array<float>(grid_.rows() * largest_group())),
        upper_(upper),
        weights_(weights),
        keep_(keep) {}

  std::int64_t run() {
    const std::int64_t rows = grid_.rows(), cols = grid_.cols();
    check(cudaMemsetAsync(keep_, 1, static_cast<std::size_t>(rows * cols), nullptr),
          "clearing a support");
    for (const ColumnBlock& block : sweep_.blocks()) {
      throw_if_cancelled();
      for (std::size_t g = block.first_group; g <= block.last_group; ++g) settle(g, block);
      const std::int64_t width = block.end - block.begin, rest = cols - block.end;
      algebra_.multiply(-1.0f, {errors(0), rows, width, sweep_.widest_block()},
                        {upper_ + block.begin * cols + block.end, width, rest, cols}, 1.0f,
                        {weights_ + block.end, rows, rest, cols});
    }
    return unproven_;
  }

 private:
  std::int64_t largest_group() const {
    std::int32_t largest = 0;
    for (const ColumnGroup& group : grid_.groups()) largest = std::max(largest, group.cols);
    return largest;
  }
  /// Of a column of the block at hand.
  float* errors(std::int64_t place) const { return errors_.as<float>() + place; }

  void settle(std::size_t index, const ColumnBlock& block) {
    const ColumnGroup& group = grid_.groups()[index];
    const std::int64_t begin = std::max<std::int64_t>(group.col, block.begin);
    const std::int64_t end = std::min<std::int64_t>(group.col + group.cols, block.end);
    const FollowArguments follow{.weights = weights_,
                                 .keep = keep_,
                                 .upper = upper_,
                                 .rows = grid_.rows(),
                                 .cols = grid_.cols(),
                                 .begin = begin,
                                 .end = end,
                                 .block_end = block.end,
                                 .errors = errors(begin - block.begin),
                                 .error_stride = sweep_.widest_block()};
    if (sweep_.joint(index) != nullptr) {
      JointArguments joint = tables_.arguments(index);
      joint.weights = weights_ + group.col;
      joint.keep = keep_ + group.col;
      joint.stride = grid_.cols();
      joint.errors = follow.errors;
      joint.error_stride = follow.error_stride;
      choose_jointly(joint);
      follow_group(follow);
      return;
    }
    if (group.col >= block.begin && group.kept < group.cols) {
      score_weights(weights_ + group.col, grid_.cols(), factors_.as<double>() + group.col,
                    scores_.as<float>(), grid_.rows(), group.cols);
      unproven_ += selector_.choose_group(index, scores_.as<float>(), keep_ + group.col);
    }
    eliminate_columns(follow);
  }

  const ObsSweep& sweep_;
  const Grid& grid_;
  const Algebra& algebra_;
  JointTables tables_;
  Selector selector_;
  DeviceBuffer factors_, errors_, scores_;
  const float* upper_;
  float* weights_;
  std::uint8_t* keep_;
  std::int64_t unproven_ = 0;
};

}  // namespace

std::int64_t run_sweep(const ObsSweep& sweep, const Algebra& algebra, int threads,
                       const float* upper, float* weights, std::uint8_t* keep) {
  return DeviceSweep(sweep, algebra, threads, upper, weights, keep).run();
}

}  // namespace coppice::cuda
