#include "cuda/describe.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "coppice/cuda.h"
#include "cuda/blocked/blocked_select.h"

namespace coppice::cuda {
namespace {

constexpr int kMaxGatherCols = 65536 - kRunCols;  // a run may reach over the end, in 16 bits

int ceil_div(int a, int b) { return (a + b - 1) / b; }

bool can_gather(const ElementPlan& plan) {
  const ElementLayout& l = plan.layout;
  return !l.in_groups() && l.element_bytes == 2 && plan.row_vectors.empty() && l.rows > 0 &&
         l.vec_rows >= kBlockRows && l.vec_rows % 8 == 0 && l.pieces > 0 &&
         l.cols <= kMaxGatherCols;
}

// Rows of a vector that has them all.
int whole_rows(const ElementLayout& l) { return std::min(l.vec_rows, l.rows); }

// Most columns of the four from `first` on that a group from column `col` on can keep.
int most_kept(const ElementLayout& l, int col, int first) {
  std::array<int, 4> of_blocks{};
  for (int c = std::max(first, col); c < std::min(first + 4, col + l.group_cols()); ++c)
    ++of_blocks[static_cast<std::size_t>((c - col) / l.block_cols -
                                         (std::max(first, col) - col) / l.block_cols)];
  std::ranges::sort(of_blocks, std::greater{});
  int most = 0;
  for (int i = 0; i < std::min(4, l.kept); ++i) most += of_blocks[static_cast<std::size_t>(i)];
  return most;
}

// Whether all aligned four columns of a row keep two at most, in columns that stay where they are.
bool fits_two_four(const ElementPlan& plan) {
  const ElementLayout& l = plan.layout;
  if (l.element_bytes != 2 || plan.sources > 0 || !plan.groups.empty() || l.pieces == 0)
    return false;
  const int width = l.group_cols();
  const int period = std::min(std::lcm(width, 4), (l.cols + 3) / 4 * 4);
  for (int first = 0; first < period; first += 4) {
    int most = 0;
    for (int col = first / width * width; col < first + 4; col += width)
      most += most_kept(l, col, first);
    if (most > 2) return false;
  }
  return true;
}

// Which products by windows there are: of 16-bit values whose units have one list each.
WindowInfo window_of(const ElementPlan& plan, const DeviceInfo& device) {
  const ElementLayout& l = plan.layout;
  WindowInfo info;
  if (l.in_groups() || l.element_bytes != 2 || !plan.shares_vectors() || l.pieces == 0) return info;
  for (const ChunkColumns& chunk : plan.chunks)
    info.columns = std::max(info.columns, chunk.last - chunk.first);
  info.pieces = l.pieces;
  info.rows = l.rows;
  info.vectors = kWindowUnits / window_shared_units(l.vec_rows);
  info.boxes = device.has_wgmma && plan.sources == 0 && l.run < kTogether;
  return info;
}

}  // namespace

bool can_multiply(const Pattern& pattern, Dtype dtype) {
  const bool halves = dtype == Dtype::f16 || dtype == Dtype::bf16;
  if (is_element_pattern(pattern)) return halves || dtype == Dtype::f32;
  return pattern.fits_sparse_tensor_cores() && halves;
}

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

ProductInfo describe(const PackPlan& plan, const Grid& grid) {
  ProductInfo product;
  product.cols = grid.cols();
  product.rows = grid.rows();
  product.in_order = plan.in_order;
  product.vector_blocks = plan.vector_blocks;
  product.block_vectors = plan.block_vectors;
  product.tile_lists = plan.tile_lists;
  product.regular = plan.regular;
  product.group = grid.pattern().group;
  product.blocks = plan.blocks;
  product.steps = plan.steps;
  return product;
}

ProductInfo describe(const ElementPlan& plan, const Grid& grid, const DeviceInfo& device) {
  ProductInfo product;
  product.packing = Packing::elements;
  product.cols = grid.cols();
  product.rows = grid.rows();
  product.group = grid.pattern().group;
  ElementInfo& element = product.element;
  element.layout = plan.layout;
  element.staged = plan.staged;
  const bool clusters = device.compute_capability >= 90;
  element.lookup_split =
      split_element(plan, {device.multiprocessors, device.shared_bytes, clusters});
  const auto fragments = split_fragments(
      plan, {device.multiprocessors, device.shared_bytes, clusters, device.has_wgmma});
  if (!fragments.empty()) element.fragment_form = fragment_form(plan.layout, plan.shares_vectors());
  element.fragment_tiles = static_cast<int>(fragments.size());
  std::ranges::copy(fragments, element.fragment_splits.begin());
  product.fragment_tokens = element.fragment_tokens();
  const auto quads =
      split_quads(plan, {device.multiprocessors, device.shared_bytes, clusters, device.has_wgmma});
  if (!quads.empty()) element.quad_form = quad_form(plan.layout);
  std::ranges::copy(quads, element.quad_splits.begin());
  product.blocked = describe_blocked(plan);
  product.window = window_of(plan, device);
  product.regular = plan.groups.empty() && plan.sources == 0;
  product.two_four = fits_two_four(plan);
  describe_gathered(plan, product);
  return product;
}

ProductInfo describe(const Grid& grid, Dtype dtype, bool permuted, const DeviceInfo& device) {
  return is_element_pattern(grid.pattern())
             ? describe(plan_element(grid, dtype, permuted), grid, device)
             : describe(plan_pack(grid, permuted), grid);
}

}  // namespace coppice::cuda
