#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
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

// Calls keep(block) for the `kept` blocks of largest sum, of equal ones the lower, in their order.
template <typename Keep>
void for_largest(std::span<const double> sums, int kept, std::vector<double>& scratch, Keep keep) {
  scratch.assign(sums.begin(), sums.end());
  const auto last = scratch.begin() + kept - 1;
  std::ranges::nth_element(scratch, last, std::greater<>());
  const double threshold = *last;
  auto ties = kept - std::ranges::count_if(sums, [&](double sum) { return sum > threshold; });
  for (std::size_t block = 0; block < sums.size(); ++block)
    if (sums[block] > threshold || (sums[block] == threshold && ties-- > 0))
      keep(static_cast<std::int64_t>(block));
}

}  // namespace

TileResult select_blocks(const DenseView& scores, const Tile& tile, Mask& mask) {
  const std::vector<double> columns = column_sums(scores, tile);
  const std::int64_t first_word = tile.col() / 64;
  std::vector<std::uint64_t> bits(
      static_cast<std::size_t>((tile.col() + tile.cols() + 63) / 64 - first_word));
  std::vector<double> sums, scratch;
  TileResult result;
  for (const ColumnGroup& group : tile.groups) {
    sums.assign(static_cast<std::size_t>(group.blocks), 0);
    for (int c = 0; c < group.cols; ++c)
      sums[static_cast<std::size_t>(c / group.block_cols)] +=
          columns[static_cast<std::size_t>(group.col - tile.col() + c)];
    const double total = std::accumulate(sums.begin(), sums.end(), 0.0);
    if (std::isnan(total)) return {.has_nan = true};
    result.total_score += total;

    for_largest(sums, group.kept_blocks, scratch, [&](std::int64_t block) {
      result.kept_score += sums[static_cast<std::size_t>(block)];
      const std::int64_t begin = group.col + block * group.block_cols;
      for (std::int64_t c = begin; c < begin + group.block_cols; ++c)
        bits[static_cast<std::size_t>(c / 64 - first_word)] |= std::uint64_t{1} << (c % 64);
    });
  }
  for (int r = 0; r < tile.rows; ++r) set_bits(mask, tile.row + r, first_word, bits);
  return result;
}

}  // namespace coppice::prune
