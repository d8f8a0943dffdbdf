#include "cuda/element/gather_lists.h"

#include <algorithm>

namespace coppice::cuda {
namespace {

constexpr int kMaxCols = 65536 - kRunCols;  // a run may reach over the end, in 16 bits

int ceil_div(int a, int b) { return (a + b - 1) / b; }

bool can_gather(const ElementPlan& plan) {
  const ElementLayout& l = plan.layout;
  return !l.in_groups() && l.element_bytes == 2 && plan.row_vectors.empty() && l.rows > 0 &&
         l.vec_rows >= kBlockRows && l.vec_rows % 8 == 0 && l.pieces > 0 && l.cols <= kMaxCols;
}

// Rows of a vector that has them all.
int whole_rows(const ElementLayout& l) { return std::min(l.vec_rows, l.rows); }

}  // namespace

void describe_gathered(const ElementPlan& plan, ProductInfo& product) {
  if (!can_gather(plan)) return;
  const ElementLayout& l = plan.layout;
  product.gathers = true;
  // The copy engine wants the 16 bytes of a token where a run begins whole.
  product.runs = l.run == kRunCols && plan.sources == 0 &&
                 std::ranges::all_of(plan.groups,
                                     [](const ElementGroup& group) { return group.col % 8 == 0; });
  product.vector_blocks = ceil_div(whole_rows(l), kBlockRows);
  product.blocks = std::int64_t{l.vectors} * product.vector_blocks;
  product.steps = ceil_div(l.pieces * kRunCols, kStepCols);
}

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
