#include <algorithm>
#include <array>

#include "prune/column_search.h"
#include "prune/panel.h"
#include "prune/tile.h"

namespace coppice::prune {
namespace {

constexpr int kMaxGroup = 256;

BlockShape shape_of(const Tile& tile, const ScorePanel& panel, const ColumnGroup& group) {
  return {tile.rows, panel.pitch(), group.cols, group.kept_cols, group.kept};
}

// Top N of the chosen columns in each row. @returns the score kept
double select_in_rows(const ScorePanel& panel, const ColumnGroup& group, const ColumnSet& set,
                      PanelBits& chosen) {
  const PanelKernels& kernels = panel_kernels();
  std::array<const std::int32_t*, kMaxGroup> columns;
  std::array<std::uint8_t, 2 * kMaxGroup> bits;
  double total = 0;
  for (int p = 0; p < panel.panels(); ++p) {
    for (std::size_t j = 0; j < set.columns.size(); ++j)
      columns[j] = panel.column(group.col + set.columns[j]) + p * kPanelRows;
    double kept[kPanelRows] = {};
    kernels.select(columns.data(), group.kept_cols, group.kept, bits.data(), kept);
    for (std::size_t j = 0; j < set.columns.size(); ++j)
      chosen.set(p, group.col + set.columns[j], bits.data() + 2 * j);
    for (double sum : kept) total += sum;
  }
  return total;
}

}  // namespace

TileResult select_vnm(const DenseView& scores, const Tile& tile, ColumnSearch search, Mask& mask) {
  const ScorePanel panel(scores, tile);
  if (panel.has_nan()) return {.has_nan = true};

  // Groups differ in size at the end of segments only, and none is larger than a full one.
  const ColumnGroup& largest = *std::ranges::max_element(tile.groups, {}, &ColumnGroup::cols);
  ColumnChooser chooser(shape_of(tile, panel, largest), search);
  PanelBits chosen(tile);
  TileResult result{.total_score = panel.total_score()};
  for (const ColumnGroup& group : tile.groups) {
    const ColumnSet& set = chooser.choose(panel.column(group.col), shape_of(tile, panel, group));
    result.kept_score += select_in_rows(panel, group, set, chosen);
    result.unproven_blocks += set.proven ? 0 : 1;
  }
  chosen.write(mask);
  return result;
}

}  // namespace coppice::prune
