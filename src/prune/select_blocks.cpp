#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "prune/tile.h"

namespace coppice::prune {
namespace {

// Absolute scores summed over the rows of a tile, column by column. A NaN stays one.
std::vector<double> column_sums(const DenseView& scores, const Tile& tile) {
  const auto cols = static_cast<std::size_t>(tile.cols());
  std::vector<double> sums(cols);
  std::vector<float> row(cols);
  for (int r = 0; r < tile.rows; ++r) {
    to_float(scores.dtype, scores.row(tile.row + r) + tile.col() * dtype_bytes(scores.dtype), row);
    for (std::size_t c = 0; c < cols; ++c) sums[c] += std::fabs(row[c]);
  }
  return sums;
}

// The `kept` blocks of largest sum, of equal ones the lower, first in `order`.
void rank_blocks(std::span<const double> sums, int kept, std::vector<int>& order) {
  order.resize(sums.size());
  std::iota(order.begin(), order.end(), 0);
  if (std::cmp_equal(kept, order.size())) return;
  std::ranges::nth_element(order, order.begin() + kept, [&](int a, int b) {
    const double x = sums[static_cast<std::size_t>(a)], y = sums[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  });
}

}  // namespace

TileResult select_blocks(const DenseView& scores, const Tile& tile, Mask& mask) {
  const std::vector<double> columns = column_sums(scores, tile);
  const std::int64_t first_word = tile.col() / 64;
  std::vector<std::uint64_t> bits(
      static_cast<std::size_t>((tile.col() + tile.cols() + 63) / 64 - first_word));
  std::vector<double> sums;
  std::vector<int> order;
  TileResult result;
  for (const ColumnGroup& group : tile.groups) {
    sums.assign(static_cast<std::size_t>(group.blocks), 0);
    for (int c = 0; c < group.cols; ++c)
      sums[static_cast<std::size_t>(c / group.block_cols)] +=
          columns[static_cast<std::size_t>(group.col - tile.col() + c)];
    const double total = std::accumulate(sums.begin(), sums.end(), 0.0);
    if (std::isnan(total)) return {.has_nan = true};
    result.total_score += total;

    rank_blocks(sums, group.kept_blocks, order);
    std::sort(order.begin(), order.begin() + group.kept_blocks);
    for (int i = 0; i < group.kept_blocks; ++i) {
      const int block = order[static_cast<std::size_t>(i)];
      result.kept_score += sums[static_cast<std::size_t>(block)];
      const std::int64_t begin = group.col + std::int64_t{block} * group.block_cols;
      for (std::int64_t c = begin; c < begin + group.block_cols; ++c)
        bits[static_cast<std::size_t>(c / 64 - first_word)] |= std::uint64_t{1} << (c % 64);
    }
  }
  for (int r = 0; r < tile.rows; ++r) set_bits(mask, tile.row + r, first_word, bits);
  return result;
}

}  // namespace coppice::prune
