#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "coppice/error.h"
#include "coppice/prune.h"
#include "core/parallel_for.h"
#include "prune/panel_kernels.h"
#include "prune/tile.h"

namespace coppice {
namespace {

using prune::Tile;
using prune::TileResult;

// Scores of a tile, if its rows and groups allow: enough to be worth a task, few enough to stay in
// the second-level cache. Fixed, so that sums do not depend on the number of threads.
constexpr std::int64_t kTileScores = 1 << 14;

void check_matrix(const char* what, Dtype dtype, std::int64_t rows, std::int64_t cols,
                  std::int64_t stride, const std::byte* data) {
  if (!is_weight_dtype(dtype))
    throw InvalidArgument(fmt::format("{} are {}, need to be F32, F16, BF16, F8_E4M3 or I8", what,
                                      dtype_name(dtype)));
  if (rows < 0 || cols < 0)
    throw InvalidArgument(fmt::format("{} are {} x {}, need sizes of 0 or more", what, rows, cols));
  if (stride < cols)
    throw InvalidArgument(fmt::format("{} have a row stride of {}, need {} (the columns) or more",
                                      what, stride, cols));
  if (data == nullptr && rows > 0 && cols > 0)
    throw InvalidArgument(fmt::format("{} of {} x {} have no data", what, rows, cols));
}

// Ranges of groups that tiles of `rows` rows take.
std::vector<std::span<const ColumnGroup>> split_groups(const Grid& grid, std::int64_t rows) {
  const std::int64_t most_cols = std::max<std::int64_t>(kTileScores / rows, 1);
  const std::span<const ColumnGroup> groups = grid.groups();
  std::vector<std::span<const ColumnGroup>> ranges;
  for (std::size_t begin = 0, end = 0; begin < groups.size(); begin = end) {
    std::int64_t cols = groups[begin].cols;
    for (end = begin + 1; end < groups.size() && cols + groups[end].cols <= most_cols; ++end)
      cols += groups[end].cols;
    ranges.push_back(groups.subspan(begin, end - begin));
  }
  return ranges;
}

bool is_element_wise(const Pattern& pattern) { return pattern.kind() == PatternKind::element; }

// Vectors; for element-wise patterns, in which rows are independent, as many rows as fill a panel.
std::vector<RowVector> split_rows(const Grid& grid) {
  if (!is_element_wise(grid.pattern())) return {grid.vectors().begin(), grid.vectors().end()};
  std::vector<RowVector> panels;
  for (std::int64_t row = 0; row < grid.rows(); row += prune::kPanelRows)
    panels.push_back({row, static_cast<std::int32_t>(
                               std::min<std::int64_t>(prune::kPanelRows, grid.rows() - row))});
  return panels;
}

TileResult select_tile(const DenseView& scores, const Pattern& pattern, const Tile& tile,
                       ColumnSearch search, Mask& mask) {
  if (pattern.has_inner()) return prune::select_vnm(scores, tile, search, mask);
  if (is_element_wise(pattern)) return prune::select_elements(scores, tile, mask);
  return prune::select_blocks(scores, tile, mask);
}

[[noreturn]] void throw_first_nan(const DenseView& scores) {
  std::vector<float> row(static_cast<std::size_t>(scores.cols));
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    to_float(scores.dtype, scores.row(r), row);
    const auto nan = std::ranges::find_if(row, [](float score) { return std::isnan(score); });
    if (nan != row.end())
      throw InvalidArgument(
          fmt::format("the score at row {}, column {} is NaN; scores need to be numbers (set it to "
                      "0 to have it pruned)",
                      r, nan - row.begin()));
  }
  throw InvalidArgument("scores changed while they were read");
}

}  // namespace

MaskResult select_mask(const DenseView& scores, const Pattern& pattern,
                       const MaskOptions& options) {
  check_matrix("scores", scores.dtype, scores.rows, scores.cols, scores.stride(), scores.data);
  const Grid grid(pattern, {scores.rows, scores.cols, options.row_segments, options.col_segments});
  MaskResult result;
  result.mask = Mask(scores.rows, scores.cols);
  if (scores.rows == 0 || scores.cols == 0) return result;

  const std::vector<RowVector> rows = split_rows(grid);
  const auto tallest = std::ranges::max_element(rows, {}, &RowVector::rows)->rows;
  const auto groups = split_groups(grid, tallest);
  std::vector<TileResult> tiles(rows.size() * groups.size());
  parallel_for(std::ssize(tiles), options.threads, [&](std::int64_t i) {
    const auto index = static_cast<std::size_t>(i);
    const RowVector& vector = rows[index / groups.size()];
    const Tile tile{vector.row, vector.rows, groups[index % groups.size()]};
    tiles[index] = select_tile(scores, grid.pattern(), tile, options.columns, result.mask);
  });

  for (const TileResult& tile : tiles) {
    if (tile.has_nan) throw_first_nan(scores);
    result.total_score += tile.total_score;
    result.kept_score += tile.kept_score;
    result.unproven_blocks += tile.unproven_blocks;
  }
  if (grid.pattern().has_inner())
    result.blocks = std::ssize(grid.vectors()) * std::ssize(grid.groups());
  return result;
}

}  // namespace coppice
