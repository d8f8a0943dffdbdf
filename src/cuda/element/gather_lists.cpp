#include "cuda/element/gather_lists.h"

#include <algorithm>

namespace coppice::cuda {
namespace {

int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Rows of a vector that has them all.
int whole_rows(const ElementLayout& l) { return std::min(l.vec_rows, l.rows); }

}  // namespace

void set_gathered(const ElementWeight& weight, const Selection& selection, ProductArguments& p) {
  const ElementLayout& l = weight.layout;
  const WgmmaShape& shape = kWgmmaShapes[static_cast<std::size_t>(selection.shape)];
  RunLists& lists = p.lists;
  lists.values = weight.values;
  lists.runs = reinterpret_cast<const std::uint16_t*>(weight.choices);
  lists.sources = weight.sources;
  lists.half_units = 2 * l.units();
  lists.pieces = l.pieces;
  lists.words = l.words;
  lists.run = l.run;
  lists.vec_rows = l.vec_rows;
  lists.vector_tiles = ceil_div(whole_rows(l), shape.rows());
  lists.boxes = l.run == kRunCols && weight.sources == nullptr;
  p.steps = ceil_div(l.pieces * kRunCols, shape.step_cols());
  p.row_tile_count = vector_tile_count(shape.rows(), lists.vector_tiles, l.vec_rows, l.rows);
}

}  // namespace coppice::cuda
