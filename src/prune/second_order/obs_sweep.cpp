#include "prune/second_order/obs_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "coppice/error.h"
#include "core/parallel_for.h"
#include "prune/second_order/group_slab.h"
#include "prune/second_order/lapack.h"
#include "prune/second_order/saliency_choice.h"

namespace coppice::prune {
namespace {

// Blocks hold at least this much, so that no group of a joint choice is split.
constexpr int kSmallestBlock = 32;

// w -= e u
void subtract(float* w, float e, const float* u, std::int64_t count) {
  for (std::int64_t k = 0; k < count; ++k) w[k] -= e * u[k];
}

}  // namespace

std::vector<ColumnBlock> split_columns(const Grid& grid, int block) {
  const std::int64_t most = std::max(block, kSmallestBlock);
  const std::span<const ColumnGroup> groups = grid.groups();
  std::vector<ColumnBlock> blocks;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const std::int64_t begin = groups[g].col, end = begin + groups[g].cols;
    if (!blocks.empty() && end - blocks.back().begin <= most) {
      blocks.back().end = end;
      blocks.back().last_group = g;
    } else {
      for (std::int64_t col = begin; col < end; col += most)
        blocks.push_back({col, std::min(col + most, end), g, g});
    }
  }
  return blocks;
}

struct ObsSweep::State {
  std::span<const RowVector> vectors;
  std::int64_t first_row = 0, rows = 0;
  float* weights = nullptr;  // of the first row
  Mask* mask = nullptr;
  std::vector<std::uint8_t> keep;  // of the group at hand, [rows, group]
  std::vector<float> errors;       // of the block at hand, [rows, error_stride]
  std::vector<float> scratch;
  std::int64_t unproven = 0;
};

ObsSweep::ObsSweep(const Grid& grid, const InverseFactor& factor, const ObsOptions& options,
                   float largest)
    : grid_(grid),
      factor_(factor),
      search_(options.columns),
      blocks_(split_columns(grid, options.block)),
      joint_(grid.groups().size()) {
  const double scale = largest > 0 ? 1.0 / largest : 1;
  for (std::int64_t c = 0; c < grid.cols(); ++c) {
    const double root = scale / factor.at(c, c);
    saliency_factors_.push_back(root * root);
  }
  for (const ColumnBlock& block : blocks_)
    error_stride_ = std::max(error_stride_, block.end - block.begin);
  if (options.choice == GroupChoice::saliency) return;

  std::map<std::tuple<int, int, int>, std::shared_ptr<const KeptSets>> shapes;
  std::vector<std::shared_ptr<const KeptSets>> sets(joint_.size());
  for (std::size_t g = 0; g < sets.size(); ++g) {
    const ColumnGroup& group = grid.groups()[g];
    if (group.kept == group.cols) continue;
    const auto [at, added] = shapes.try_emplace({group.cols, group.blocks, group.kept_blocks});
    if (added) at->second = list_kept_sets(group);
    sets[g] = at->second;
    if (sets[g] == nullptr && options.choice == GroupChoice::joint)
      throw InvalidArgument(
          fmt::format("joint choice: a group of {} has too many sets of columns to try all; choose "
                      "by saliency",
                      grid.pattern().to_string()));
  }
  parallel_for(std::ssize(sets), options.threads, [&](std::int64_t i) {
    const auto g = static_cast<std::size_t>(i);
    if (sets[g] == nullptr) return;
    joint_[g] = std::make_unique<JointGroup>(sets[g], factor, grid.groups()[g]);
    if (!joint_[g]->usable()) joint_[g].reset();
  });
  joint_groups_ = std::ranges::count_if(joint_, [](const auto& group) { return group != nullptr; });
}

std::int64_t ObsSweep::run(std::span<const RowVector> vectors, float* weights, Mask& mask) const {
  State state;
  state.vectors = vectors;
  state.first_row = vectors.front().row;
  state.mask = &mask;
  state.rows = vectors.back().row + vectors.back().rows - state.first_row;
  state.weights = weights + state.first_row * grid_.cols();
  state.errors.resize(static_cast<std::size_t>(state.rows * error_stride_));
  for (const ColumnBlock& block : blocks_) {
    for (std::size_t g = block.first_group; g <= block.last_group; ++g) {
      const ColumnGroup& group = grid_.groups()[g];
      if (group.col >= block.begin) choose(state, g, block.begin);
      if (joint_[g] == nullptr)
        eliminate(state, group, block);
      else
        propagate_group(state, group, block);
    }
    propagate_block(state, block);
  }
  return state.unproven;
}

// Chooses the mask of a group, whose weights are up to date.
void ObsSweep::choose(State& state, std::size_t index, std::int64_t block_begin) const {
  const ColumnGroup& group = grid_.groups()[index];
  state.keep.assign(static_cast<std::size_t>(state.rows * group.cols), 1);
  const GroupSlab slab{&group, state.vectors, state.weights + group.col, grid_.cols(),
                       state.keep.data()};
  if (joint_[index] != nullptr)
    joint_[index]->choose(slab, state.errors.data() + (group.col - block_begin), error_stride_);
  else if (group.kept < group.cols)
    state.unproven += choose_by_saliency(
        slab, grid_.pattern(), search_,
        std::span(saliency_factors_).subspan(static_cast<std::size_t>(group.col)), state.scratch);
  for (std::int64_t r = 0; r < state.rows; ++r)
    for (std::int64_t c = 0; c < group.cols; ++c)
      if (slab.keep_row(r)[c] != 0) state.mask->set(state.first_row + r, group.col + c);
}

// Prunes the group's columns that lie in the block one by one; the rest of the block follows.
void ObsSweep::eliminate(State& state, const ColumnGroup& group, const ColumnBlock& block) const {
  const std::int64_t begin = std::max(group.col, block.begin);
  const std::int64_t end = std::min(group.col + group.cols, block.end);
  for (std::int64_t r = 0; r < state.rows; ++r) {
    float* weights = state.weights + r * grid_.cols();
    float* errors = state.errors.data() + r * error_stride_;
    const std::uint8_t* keep = state.keep.data() + r * group.cols;
    for (std::int64_t c = begin; c < end; ++c) {
      float& error = errors[c - block.begin];
      error = 0;
      if (keep[c - group.col] != 0) continue;
      error = weights[c] / factor_.at(c, c);
      weights[c] = 0;
      subtract(weights + c + 1, error, factor_.row(c) + c + 1, block.end - c - 1);
    }
  }
}

// The same after a joint choice, which has settled the group itself.
void ObsSweep::propagate_group(State& state, const ColumnGroup& group,
                               const ColumnBlock& block) const {
  const std::int64_t end = group.col + group.cols;
  for (std::int64_t r = 0; r < state.rows; ++r) {
    const float* errors = state.errors.data() + r * error_stride_;
    for (std::int64_t c = group.col; c < end; ++c)
      subtract(state.weights + r * grid_.cols() + end, errors[c - block.begin],
               factor_.row(c) + end, block.end - end);
  }
}

void ObsSweep::propagate_block(State& state, const ColumnBlock& block) const {
  const std::int64_t width = block.end - block.begin, rest = grid_.cols() - block.end;
  multiply(-1.0f, {state.errors.data(), state.rows, width, error_stride_},
           {factor_.row(block.begin) + block.end, width, rest, grid_.cols()}, 1.0f,
           {state.weights + block.end, state.rows, rest, grid_.cols()});
}

}  // namespace coppice::prune
