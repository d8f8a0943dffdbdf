// Which kernels and tiles of each family can run a product.
#include "cuda/model/tiles.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>

#include "coppice/error.h"
#include "core/rounding.h"
#include "cuda/blocked/blocked_select.h"
#include "cuda/decode_select.h"
#include "cuda/element/quad_ring_plan.h"
#include "cuda/kernels/sparse_mma_layout.h"
#include "cuda/kernels/spread_layout.h"
#include "cuda/model/model.h"
#include "cuda/packed_layout.h"
#include "cuda/select.h"
#include "cuda/window/ring_layout.h"

namespace coppice::cuda {

std::vector<int> slice_counts(const WgmmaShape& s, Family family, const ProductInfo& p,
                              const DeviceInfo& device) {
  std::vector<int> counts{1};
  const std::int64_t most = p.batch_invariant ? 1 : std::min<std::int64_t>(s.slices, p.steps);
  const std::int64_t room = std::int64_t{device.multiprocessors} * s.thread_blocks;
  // A cluster lies within a part of the GPU: of 132 multiprocessors an H200 has 120 for fours.
  const auto fits = [&](int slices) {
    return model::tile_count(s, family, p) * slices <= (slices == 2 ? room : room * 7 / 8);
  };
  for (int slices = 2; slices <= most && fits(slices); ++slices) counts.push_back(slices);
  return counts;
}

// As many token tiles together as keep their activations in a fifth of L2: weights and outputs pass
// through it too, and each half of the chip keeps copies (best of 1/12 to 1/1.5 on an H200). But
// large tiles of gathered activations want no more than 512 tokens, since then most multiprocessors
// ask for the same rows at the same time (64:2:16 at 4096 columns: 8 %; docs/performance/vnm.md);
// of dense weights only those with runs of columns do (bw64x64 10 %; vw64 loses 5 %).
int token_group(Family family, const ProductInfo& p, int tile_tokens, const DeviceInfo& device) {
  constexpr int kLargeTile = 256, kGathered = 512;
  const std::int64_t panel = std::max<std::int64_t>(1, p.cols * tile_tokens * 2);
  std::int64_t most = ceil_div(p.tokens, tile_tokens);
  const bool gathers = (family == Family::wgmma || family == Family::mma) && !p.in_order;
  if ((gathers && tile_tokens >= kLargeTile) ||
      (family == Family::gather && p.runs && tile_tokens >= kGathered))
    most = std::min<std::int64_t>(most, std::max(1, kGathered / tile_tokens));
  return static_cast<int>(
      std::clamp<std::int64_t>(device.l2_bytes / 5 / panel, 1, std::max<std::int64_t>(1, most)));
}

namespace {

// Rows of activations in a stage; none if the kernel cannot run the product.
int mma_stage_rows(const MmaKernel& k, const ProductInfo& p) {
  const bool empty = p.blocks == 0 || p.steps == 0;  // nothing is read: any kernel will do
  const bool in_order = p.in_order || empty;
  if (in_order != (k.rows == MmaRows::in_order)) return 0;
  if (k.vectors != p.block_vectors && !empty) return 0;
  if (k.rows == MmaRows::in_order) return k.places();
  if (k.rows == MmaRows::window) return p.regular ? k.places() / 4 * p.group : 0;
  std::size_t tile = 0;
  while (kTileBlocks[tile] != k.row_warps) ++tile;
  return k.places() * p.tile_lists[tile];
}

}  // namespace

std::vector<MmaShape> mma_shapes(const ProductInfo& p, const DeviceInfo& device) {
  constexpr int kReserved = 1024;  // of shared memory, for every thread block
  std::vector<MmaShape> shapes;
  for (std::size_t i = 0; i < kMmaKernels.size(); ++i) {
    const MmaKernel& kernel = kMmaKernels[i];
    MmaShape shape;
    shape.kernel = static_cast<int>(i);
    shape.stage_rows = mma_stage_rows(kernel, p);
    if (shape.stage_rows == 0) continue;
    // As many stages as fit; thread blocks with only two of them are a last resort.
    const auto fits = [&](int resident, int stages) {
      const int bytes = (device.shared_bytes + kReserved) / resident - kReserved;
      return mma::shared_bytes(kernel, shape.stage_rows, stages) <= bytes;
    };
    shape.resident = kernel.thread_blocks();
    while (shape.resident > 1 && !fits(shape.resident, 3)) --shape.resident;
    shape.stages = mma::kMostStages;
    while (shape.stages > 2 && !fits(shape.resident, shape.stages)) --shape.stages;
    if (!fits(shape.resident, shape.stages)) continue;
    shapes.push_back(shape);
  }
  return shapes;
}

MmaShape mma_shape(const ProductInfo& p, const DeviceInfo& device) {
  const std::vector<MmaShape> shapes = mma_shapes(p, device);
  if (shapes.empty())
    throw DeviceError(fmt::format(
        "vectors of fewer than 64 rows with M = {} need more shared memory than the {} bytes that "
        "the device has: choose a larger V or a smaller M",
        p.group, device.shared_bytes));
  // Of equals the one that needs less from L2, and then one that gathers (H200, 32:2:16: 10 %).
  return *std::ranges::min_element(shapes, {}, [&](const MmaShape& shape) {
    const model::Cost cost = model::mma_cost(shape, p, device);
    return std::tuple(cost.seconds, cost.l2, shape.config().rows == MmaRows::window);
  });
}

bool has_tile(const WgmmaShape& shape, Family family, const ProductInfo& p) {
  if (shape.dense() != (family == Family::gather)) return false;
  if (family == Family::gather) return true;
  // Warpgroups that take turns add up in another order than one. Not made for M = 5.
  if (shape.col_groups > 1 && (family != Family::expand || p.group == 5 || p.batch_invariant))
    return false;
  return family == Family::expand ? shape.expands : !p.in_order || shape.in_order;
}

bool is_element_family(Family family) {
  return family == Family::lookup || family == Family::fragments || family == Family::quads;
}

std::vector<int> element_tiles(Family family, const ProductInfo& p) {
  if (family == Family::lookup) return {1, 2, 4};
  if (family == Family::quads) {
    std::vector<int> tiles;
    std::ranges::set_union(kQuadTiles, kQuadRingTiles, std::back_inserter(tiles));
    return tiles;
  }
  std::vector<int> tiles;
  for (int tile = 8; tile <= p.fragment_tokens; tile *= 2) tiles.push_back(tile);
  return tiles;
}

std::vector<int> window_shapes(const ProductInfo& p, const DeviceInfo& device) {
  std::vector<int> shapes;
  for (std::size_t i = 0; i < kWindowShapes.size() && p.window.columns > 0; ++i)
    if (window_stage(kWindowShapes[i], p.window.columns, device.shared_bytes).rows > 0)
      shapes.push_back(static_cast<int>(i));
  if (!device.has_wgmma || p.window.columns == 0 || !p.regular) return shapes;
  const ElementLayout& l = p.element.layout;
  const RingWindow window = ring_window(l);
  for (std::size_t i = 0; i < kRingShapes.size() && window.columns > 0; ++i)
    if (ring_stage(kRingShapes[i], window.columns, ring_lists(l.vec_rows), device.shared_bytes)
            .stages > 0)
      shapes.push_back(static_cast<int>(kWindowShapes.size() + i));
  return shapes;
}

ProductInfo as_two_four(const ProductInfo& p) {
  ProductInfo records;
  records.blocks = ceil_div(p.rows, kBlockRows);
  const bool slots = p.packing == Packing::records && !spread::in_order(p.group);
  records.steps = slots ? spread::steps(p.group, p.cols) : ceil_div(p.cols, kStepCols);
  records.slots = slots;
  records.vector_blocks = static_cast<int>(records.blocks);
  records.in_order = true;
  records.rows = p.rows;
  records.cols = p.cols;
  records.tokens = p.tokens;
  records.token_major = p.token_major;
  records.aligned = p.aligned;
  return records;
}

std::vector<Selection> two_four_selections(const ProductInfo& p, const DeviceInfo& device) {
  const ProductInfo records = as_two_four(p);
  Selection one = select_of(Family::two_four, p, device);
  std::vector<Selection> all;
  for (std::size_t i = 0; i < kWgmmaShapes.size(); ++i) {
    if (!has_tile(kWgmmaShapes[i], Family::wgmma, records)) continue;
    one.shape = static_cast<int>(i);
    one.token_group = token_group(one.family, p, kWgmmaShapes[i].tile_tokens(), device);
    for (const int slices : slice_counts(kWgmmaShapes[i], Family::wgmma, records, device)) {
      one.slices = slices;
      all.push_back(one);
    }
  }
  return all;
}

namespace {

// Their bits depend on the number of tokens.
bool can_unpack(Family family, const ProductInfo& p, const DeviceInfo& device) {
  if (p.batch_invariant || p.tokens == 0 || p.rows == 0) return false;
  if (p.packing == Packing::records)  // V:2:M
    return device.has_wgmma && p.regular && !p.in_order && p.steps > 0 &&
           spread::can_spread(p.group);
  if (p.element.layout.pieces == 0) return false;
  return family == Family::unpack ? device.dense_library : device.has_wgmma && p.two_four;
}

// The order of its sums depends on the tile.
bool can_run_quads(const ProductInfo& p, const DeviceInfo& device) {
  constexpr std::int64_t kMost = 1 << 16;  // tokens, of one launch
  return device.has_wgmma && p.element.quad_form >= 0 && !p.batch_invariant && p.tokens > 0 &&
         p.tokens <= kMost;
}

}  // namespace

bool can_run(Family family, const ProductInfo& p, const DeviceInfo& device) {
  const bool unpacks = family == Family::unpack || family == Family::two_four;
  const bool of_elements = is_element_family(family) || family == Family::blocked ||
                           family == Family::gather || family == Family::window ||
                           family == Family::unpack;
  const bool of_both = family == Family::two_four;
  if (!of_both && of_elements != (p.packing == Packing::elements)) return false;
  if (unpacks) return can_unpack(family, p, device);
  if (family == Family::blocked) return can_run_blocked(p, device);
  if (family == Family::window) return !window_shapes(p, device).empty();
  if (family == Family::lookup) return true;
  if (family == Family::quads) return can_run_quads(p, device);
  if (family == Family::fragments) return p.fragment_tokens > 0;
  if (family == Family::mma) return true;
  if (family == Family::decode) return !decode_shapes(p, device).empty();
  // A wgmma tile is announced with its first step: there must be one.
  if (!device.has_wgmma || p.steps == 0) return false;
  if (family == Family::wgmma) return p.vector_blocks > 0;
  if (family == Family::gather) return p.gathers;
  return p.regular && !p.in_order && expand::can_expand(p.group);
}

}  // namespace coppice::cuda
