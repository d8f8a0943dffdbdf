#include "prune/permutation/row_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/parallel_for.h"

namespace coppice::prune {

RowModel::RowModel(const DenseView& scores, const Grid& grid, int threads)
    : grid_(grid), kernels_(permutation_kernels()), threads_(threads) {
  for (const ColumnGroup& group : grid.groups()) blocks_ += static_cast<std::size_t>(group.blocks);
  scores_.resize(static_cast<std::size_t>(scores.rows) * blocks_);
  parallel_for(scores.rows, threads, [&](std::int64_t r) {
    std::vector<float> row(static_cast<std::size_t>(scores.cols));
    to_float(scores.dtype, scores.row(r), row);
    float* out = scores_.data() + static_cast<std::size_t>(r) * blocks_;
    for (const ColumnGroup& group : grid_.groups())
      for (int block = 0; block < group.blocks; ++block) {
        const auto first = row.begin() + group.col + std::ptrdiff_t{block} * group.block_cols;
        *out++ = static_cast<float>(
            std::accumulate(first, first + group.block_cols, 0.0,
                            [](double sum, float score) { return sum + std::fabs(score); }));
      }
  });
}

void RowModel::load_rest(const Permutation& order, std::span<const Bin> vectors,
                         std::span<const std::int64_t> slots) {
  lanes_ = (vectors.size() + kLanes - 1) / kLanes * kLanes;
  rest_.assign(blocks_ * lanes_, 0);
  parallel_for(std::ssize(vectors), threads_, [&](std::int64_t i) {
    const auto lane = static_cast<std::size_t>(i);
    std::vector<double> sums(blocks_);
    for (std::int64_t slot = vectors[lane].first; slot < vectors[lane].first + vectors[lane].size;
         ++slot) {
      if (slot == slots[lane]) continue;
      const float* from = row(order[static_cast<std::size_t>(slot)]);
      for (std::size_t block = 0; block < blocks_; ++block)
        sums[block] += static_cast<double>(from[block]);
    }
    for (std::size_t block = 0; block < blocks_; ++block)
      rest_[block * lanes_ + lane] = static_cast<float>(sums[block]);
  });
}

// Sums to 1 for the columns of largest sum, of equal ones the lower, and 0 for the others.
void RowModel::mark_live(std::size_t vectors) {
  parallel_for(static_cast<std::int64_t>(vectors), threads_, [&](std::int64_t i) {
    const auto lane = static_cast<std::size_t>(i);
    std::vector<std::size_t> columns;
    for (const ColumnGroup& group : grid_.groups()) {
      columns.resize(static_cast<std::size_t>(group.cols));
      std::iota(columns.begin(), columns.end(), static_cast<std::size_t>(group.col));
      std::ranges::stable_sort(columns, std::greater<>(),
                               [&](std::size_t col) { return rest_[col * lanes_ + lane]; });
      for (std::size_t j = 0; j < columns.size(); ++j)
        rest_[columns[j] * lanes_ + lane] =
            j < static_cast<std::size_t>(group.kept_cols) ? 1.0f : 0.0f;
    }
  });
}

void RowModel::value_row(const float* scores, std::size_t vectors, std::span<double> gains) const {
  const bool inner = grid_.pattern().has_inner();
  std::vector<float> values(lanes_), list;
  const float* rest = rest_.data();
  for (const ColumnGroup& group : grid_.groups()) {
    const int depth = inner ? group.kept : group.kept_blocks;
    list.assign(static_cast<std::size_t>(depth) * lanes_, 0);
    for (int block = 0; block < group.blocks; ++block, ++scores, rest += lanes_) {
      for (std::size_t lane = 0; lane < lanes_; ++lane)
        values[lane] = inner ? *scores * rest[lane] : *scores + rest[lane];
      kernels_.push(values.data(), depth, static_cast<std::ptrdiff_t>(lanes_), list.data());
    }
    for (std::size_t entry = 0; entry < static_cast<std::size_t>(depth); ++entry)
      for (std::size_t lane = 0; lane < vectors; ++lane)
        gains[lane] += static_cast<double>(list[entry * lanes_ + lane]);
  }
}

void RowModel::exchange_gains(const Permutation& order, std::span<const Bin> vectors,
                              std::span<const std::int64_t> slots, std::span<double> gains) {
  load_rest(order, vectors, slots);
  if (grid_.pattern().has_inner()) mark_live(vectors.size());
  parallel_for(std::ssize(vectors), threads_, [&](std::int64_t i) {
    const auto index = static_cast<std::size_t>(i);
    value_row(row(order[static_cast<std::size_t>(slots[index])]), vectors.size(),
              gains.subspan(index * vectors.size(), vectors.size()));
  });
}

}  // namespace coppice::prune
