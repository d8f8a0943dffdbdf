#include "prune/second_order/saliency_choice.h"

#include <algorithm>
#include <limits>

#include "prune/tile.h"

namespace coppice::prune {
namespace {

TileResult select(const DenseView& scores, const Pattern& pattern, const Tile& tile,
                  ColumnSearch search, Mask& mask) {
  if (pattern.has_inner()) return select_vnm(scores, tile, search, mask);
  if (pattern.kind() == PatternKind::element) return select_elements(scores, tile, mask);
  return select_blocks(scores, tile, mask);
}

}  // namespace

std::int64_t choose_by_saliency(const GroupSlab& slab, const Pattern& pattern, ColumnSearch search,
                                std::span<const double> factors, std::vector<float>& scratch) {
  const std::int64_t rows = slab.rows(), cols = slab.group->cols;
  scratch.resize(static_cast<std::size_t>(rows * cols));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) {
      const double weight = slab.row(r)[c];
      // A sum of infinities would be one, too, and of several blocks none the larger.
      scratch[static_cast<std::size_t>(r * cols + c)] = static_cast<float>(
          std::min(factors[static_cast<std::size_t>(c)] * weight * weight, 1e30));
    }
  ColumnGroup group = *slab.group;
  group.col = 0;
  const DenseView scores = dense_view(scratch, rows, cols);
  Mask mask(rows, cols);
  std::int64_t unproven = 0;
  const auto choose = [&](std::int64_t first, std::int64_t count) {
    const Tile tile{first, static_cast<int>(count), {&group, 1}};
    unproven += select(scores, pattern, tile, search, mask).unproven_blocks;
  };
  if (pattern.kind() == PatternKind::element)
    choose(0, rows);  // rows are independent
  else
    for (const RowVector& vector : slab.vectors) choose(vector.row - slab.first_row(), vector.rows);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) slab.keep_row(r)[c] = mask.get(r, c) ? 1 : 0;
  return unproven;
}

}  // namespace coppice::prune
