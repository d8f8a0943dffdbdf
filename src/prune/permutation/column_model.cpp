#include "prune/permutation/column_model.h"

#include <algorithm>
#include <cmath>

#include "core/parallel_for.h"

namespace coppice::prune {
namespace {

// Lanes that are summed at a time: 32 columns of them stay in the second-level cache.
constexpr std::ptrdiff_t kChunkLanes = 512;
constexpr std::size_t kColumnsAtATime = 32;

std::ptrdiff_t padded(std::ptrdiff_t lanes) { return (lanes + kLanes - 1) / kLanes * kLanes; }

hwy::AlignedFreeUniquePtr<float[]> zeros(std::ptrdiff_t count) {
  auto result =
      hwy::AllocateAligned<float>(static_cast<std::size_t>(std::max<std::ptrdiff_t>(count, 1)));
  std::fill_n(result.get(), count, 0.0f);
  return result;
}

}  // namespace

ColumnModel::ColumnModel(const DenseView& scores, const Grid& grid, int threads)
    : grid_(grid), kernels_(permutation_kernels()), threads_(threads) {
  lay_out();
  scores_ = zeros(pitch_ * grid.cols());
  load(scores, threads);
}

// V:N:M: every vector is a chunk, its rows are lanes. Else vectors (rows, where they have one) are
// lanes, and chunks are of any size.
void ColumnModel::lay_out() {
  chunks_.push_back(0);
  std::ptrdiff_t lane = 0;
  for (const RowVector& vector : grid_.vectors()) {
    lane_of_vector_.push_back(lane);
    if (grid_.pattern().has_inner()) {
      lane += padded(vector.rows);
      chunks_.push_back(lane);
    } else if (++lane % kChunkLanes == 0) {
      chunks_.push_back(lane);
    }
  }
  pitch_ = padded(lane);
  if (chunks_.back() != pitch_) chunks_.push_back(pitch_);
}

// Some vectors at a time, so that a line of a column is written at once.
void ColumnModel::load(const DenseView& scores, int threads) {
  const bool summed = !grid_.pattern().has_inner();
  const std::int64_t at_a_time = summed ? kLanes : 1;
  const std::span<const RowVector> vectors = grid_.vectors();
  const auto cols = static_cast<std::size_t>(scores.cols);
  parallel_for((std::ssize(vectors) + at_a_time - 1) / at_a_time, threads, [&](std::int64_t part) {
    const std::int64_t begin = part * at_a_time;
    const std::int64_t end = std::min<std::int64_t>(begin + at_a_time, std::ssize(vectors));
    const std::int64_t first_row = vectors[static_cast<std::size_t>(begin)].row;
    const RowVector& last = vectors[static_cast<std::size_t>(end - 1)];
    const auto lanes = static_cast<std::size_t>(summed ? end - begin : last.rows);
    std::vector<double> sums(lanes * cols);
    std::vector<float> row(cols);
    for (std::int64_t v = begin; v < end; ++v) {
      const RowVector& vector = vectors[static_cast<std::size_t>(v)];
      for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r) {
        to_float(scores.dtype, scores.row(r), row);
        double* to =
            sums.data() + static_cast<std::size_t>(summed ? v - begin : r - first_row) * cols;
        for (std::size_t c = 0; c < cols; ++c) to[c] += std::fabs(row[c]);
      }
    }
    float* out = scores_.get() + lane_of_vector_[static_cast<std::size_t>(begin)];
    for (std::size_t c = 0; c < cols; ++c)
      for (std::size_t lane = 0; lane < lanes; ++lane)
        out[static_cast<std::ptrdiff_t>(c) * pitch_ + static_cast<std::ptrdiff_t>(lane)] =
            static_cast<float>(sums[lane * cols + c]);
  });
}

double ColumnModel::importance(std::uint32_t col) const {
  double sum = 0;
  for (std::ptrdiff_t lane = 0; lane < pitch_; ++lane)
    sum += static_cast<double>(column(col)[lane]);
  return sum;
}

// The lowest score that is kept once the place is filled: the `kept_blocks`-th of the other blocks,
// less what the rest of the place's own block has.
void ColumnModel::block_thresholds(const Permutation& order, const ColumnGroup& group,
                                   std::int64_t empty, std::size_t chunk,
                                   const Thresholds& out) const {
  const int kept = grid_.pattern().kind() == PatternKind::element ? group.kept : group.kept_blocks;
  const std::ptrdiff_t begin = chunks_[chunk], lanes = chunk_lanes(chunk);
  float* thresholds = out.lanes + begin;
  std::fill_n(thresholds, lanes, 0.0f);
  if (kept >= group.blocks) return;  // all stay: a column is worth all of its score

  const std::int64_t own = (empty - group.col) / group.block_cols;
  auto list = zeros(kept * lanes), rest = zeros(lanes), sums = zeros(lanes);
  for (int block = 0; block < group.blocks; ++block) {
    float* sum = block == own ? rest.get() : sums.get();
    std::fill_n(sum, lanes, 0.0f);
    for (int j = 0; j < group.block_cols; ++j) {
      const std::int64_t slot = group.col + std::int64_t{block} * group.block_cols + j;
      if (slot == empty) continue;
      const float* from = column(order[static_cast<std::size_t>(slot)]) + begin;
      for (std::ptrdiff_t lane = 0; lane < lanes; ++lane) sum[lane] += from[lane];
    }
    if (block != own) kernels_.push(sum, kept, lanes, list.get());
  }
  const float* lowest = list.get() + (kept - 1) * lanes;
  for (std::ptrdiff_t lane = 0; lane < lanes; ++lane)
    thresholds[lane] = lowest[lane] - rest[static_cast<std::size_t>(lane)];
}

// The columns of the rest by greedy choice, each the one that adds most; the last one is what a new
// column competes with.
void ColumnModel::set_thresholds(const Permutation& order, const ColumnGroup& group,
                                 std::int64_t empty, std::size_t chunk,
                                 const Thresholds& out) const {
  const std::ptrdiff_t begin = chunks_[chunk], lanes = chunk_lanes(chunk);
  std::vector<const float*> open;
  for (std::int64_t slot = group.col; slot < group.col + group.cols; ++slot)
    if (slot != empty) open.push_back(column(order[static_cast<std::size_t>(slot)]) + begin);

  auto list = zeros(group.kept * lanes);
  const float* thresholds = list.get() + (group.kept - 1) * lanes;
  std::vector<float> sums(open.size());
  float last = 0;
  for (int chosen = 0; chosen < group.kept_cols && !open.empty(); ++chosen) {
    kernels_.sums_above(open.data(), static_cast<int>(open.size()), &thresholds, 1, lanes,
                        sums.data());
    const auto best =
        std::max_element(sums.begin(), sums.begin() + std::ssize(open)) - sums.begin();
    last = sums[static_cast<std::size_t>(best)];
    if (chosen + 1 == group.kept_cols) break;
    kernels_.push(open[static_cast<std::size_t>(best)], group.kept, lanes, list.get());
    open.erase(open.begin() + best);
    last = 0;
  }
  std::copy_n(thresholds, lanes, out.lanes + begin);
  out.chunks[chunk] = last;
}

void ColumnModel::find_thresholds(const Permutation& order, const ColumnGroup& group,
                                  std::int64_t empty, const Thresholds& out) const {
  for (std::size_t chunk = 0; chunk + 1 < chunks_.size(); ++chunk) {
    if (grid_.pattern().has_inner())
      set_thresholds(order, group, empty, chunk, out);
    else
      block_thresholds(order, group, empty, chunk, out);
  }
}

void ColumnModel::add_gains(std::span<const float* const> columns,
                            const std::vector<Thresholds>& groups, std::span<double> gains) const {
  std::vector<const float*> x(columns.size()), t(groups.size());
  std::vector<float> sums(columns.size() * groups.size());
  for (std::size_t chunk = 0; chunk + 1 < chunks_.size(); ++chunk) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = columns[i] + chunks_[chunk];
    for (std::size_t j = 0; j < t.size(); ++j) t[j] = groups[j].lanes + chunks_[chunk];
    kernels_.sums_above(x.data(), static_cast<int>(x.size()), t.data(), static_cast<int>(t.size()),
                        chunk_lanes(chunk), sums.data());
    for (std::size_t i = 0; i < x.size(); ++i)
      for (std::size_t j = 0; j < t.size(); ++j)
        gains[i * t.size() + j] +=
            static_cast<double>(std::max(sums[i * t.size() + j] - groups[j].chunks[chunk], 0.0f));
  }
}

void ColumnModel::exchange_gains(const Permutation& order, std::span<const Bin> groups,
                                 std::span<const std::int64_t> slots, std::span<double> gains) {
  const std::size_t count = groups.size();
  const auto chunks = std::ssize(chunks_) - 1;
  auto lanes = zeros(pitch_ * std::ssize(groups)), sums = zeros(chunks * std::ssize(groups));
  std::vector<Thresholds> thresholds;
  std::vector<const float*> columns;
  for (std::size_t i = 0; i < count; ++i) {
    thresholds.push_back({lanes.get() + static_cast<std::ptrdiff_t>(i) * pitch_,
                          sums.get() + static_cast<std::ptrdiff_t>(i) * chunks});
    columns.push_back(column(order[static_cast<std::size_t>(slots[i])]));
  }
  parallel_for(std::ssize(groups), threads_, [&](std::int64_t i) {
    const auto group = static_cast<std::size_t>(i);
    find_thresholds(order, grid_.groups()[groups[group].index], slots[group], thresholds[group]);
  });
  parallel_for(static_cast<std::int64_t>((count + kColumnsAtATime - 1) / kColumnsAtATime), threads_,
               [&](std::int64_t part) {
                 const std::size_t begin = static_cast<std::size_t>(part) * kColumnsAtATime;
                 const std::size_t columns_here = std::min(kColumnsAtATime, count - begin);
                 add_gains(std::span(columns).subspan(begin, columns_here), thresholds,
                           gains.subspan(begin * count, columns_here * count));
               });
}

}  // namespace coppice::prune
