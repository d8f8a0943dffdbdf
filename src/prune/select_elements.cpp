#include <array>

#include "prune/panel.h"
#include "prune/tile.h"

namespace coppice::prune {
namespace {

constexpr int kMaxGroup = 256;

}  // namespace

TileResult select_elements(const DenseView& scores, const Tile& tile, Mask& mask) {
  const PanelKernels& kernels = panel_kernels();
  const ScorePanel panel(scores, tile);
  if (panel.has_nan()) return {.has_nan = true};

  PanelBits chosen(tile);
  std::array<const std::int32_t*, kMaxGroup> columns;
  std::array<std::uint8_t, 2 * kMaxGroup> bits;
  TileResult result{.total_score = panel.total_score()};
  for (int p = 0; p < panel.panels(); ++p) {
    double kept[kPanelRows] = {};
    for (const ColumnGroup& group : tile.groups) {
      for (int j = 0; j < group.cols; ++j)
        columns[static_cast<std::size_t>(j)] = panel.column(group.col + j) + p * kPanelRows;
      kernels.select(columns.data(), group.cols, group.kept, bits.data(), kept);
      for (int j = 0; j < group.cols; ++j) chosen.set(p, group.col + j, bits.data() + 2 * j);
    }
    for (double sum : kept) result.kept_score += sum;
  }
  chosen.write(mask);
  return result;
}

}  // namespace coppice::prune
