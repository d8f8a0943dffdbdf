#include "cuda/select.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "coppice/error.h"
#include "cuda/blocked/blocked_select.h"
#include "cuda/decode_select.h"
#include "cuda/kernels/sparse_mma_layout.h"
#include "cuda/model/model.h"
#include "cuda/model/tiles.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {
namespace {

using model::ceil_div;

}  // namespace

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
// through it too, and each half of the chip keeps copies (best of 1/12 to 1/1.5 on an H200).
int token_group(const ProductInfo& p, int tile_tokens, const DeviceInfo& device) {
  const std::int64_t panel = std::max<std::int64_t>(1, p.cols * tile_tokens * 2);
  const std::int64_t tiles = ceil_div(p.tokens, tile_tokens);
  return static_cast<int>(std::clamp<std::int64_t>(device.l2_bytes / 5 / panel, 1, tiles));
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
  return family == Family::expand ? shape.expands : !p.in_order || shape.in_order;
}

bool is_element_family(Family family) {
  return family == Family::lookup || family == Family::fragments;
}

std::vector<int> element_tiles(Family family, const ProductInfo& p) {
  if (family == Family::lookup) return {1, 2, 4};
  std::vector<int> tiles;
  for (int tile = 8; tile <= p.fragment_tokens; tile *= 2) tiles.push_back(tile);
  return tiles;
}

std::vector<int> window_shapes(const ProductInfo& p, const DeviceInfo& device) {
  std::vector<int> shapes;
  for (std::size_t i = 0; i < kWindowShapes.size() && p.window.columns > 0; ++i)
    if (window_stage(kWindowShapes[i], p.window.columns, device.shared_bytes).rows > 0)
      shapes.push_back(static_cast<int>(i));
  return shapes;
}

ProductInfo as_two_four(const ProductInfo& p) {
  ProductInfo records;
  records.blocks = ceil_div(p.rows, kBlockRows);
  records.steps = ceil_div(p.cols, kStepCols);
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
    one.token_group = token_group(p, kWgmmaShapes[i].tile_tokens(), device);
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
  if (p.batch_invariant || p.tokens == 0 || p.rows == 0 || p.element.layout.pieces == 0)
    return false;
  return family == Family::unpack ? device.dense_library : device.has_wgmma && p.two_four;
}

}  // namespace

bool can_run(Family family, const ProductInfo& p, const DeviceInfo& device) {
  const bool unpacks = family == Family::unpack || family == Family::two_four;
  const bool of_elements = is_element_family(family) || family == Family::blocked ||
                           family == Family::gather || family == Family::window || unpacks;
  if (of_elements != (p.packing == Packing::elements)) return false;
  if (unpacks) return can_unpack(family, p, device);
  if (family == Family::blocked) return can_run_blocked(p, device);
  if (family == Family::window) return !window_shapes(p, device).empty();
  if (family == Family::lookup) return true;
  if (family == Family::fragments) return p.fragment_tokens > 0;
  if (family == Family::mma) return true;
  if (family == Family::decode) return !decode_shapes(p, device).empty();
  // A wgmma tile is announced with its first step: there must be one.
  if (!device.has_wgmma || p.steps == 0) return false;
  if (family == Family::wgmma) return p.vector_blocks > 0;
  if (family == Family::gather) return p.gathers;
  return p.regular && !p.in_order && p.group >= expand::kLeastGroup &&
         p.group <= expand::kMostGroup;
}

namespace {

// Whether gathered products are the choice for a weight that has them. Their sums do not depend on
// the tile, so that batch-invariant products are always gathered.
bool prefers_gather(const ProductInfo& p, const DeviceInfo& device) {
  constexpr int kLookedUp = 4;    // tokens that share one reading of the weight by look-ups
  constexpr int kFragments = 16;  // gathering for fewer was not measured
  if (!can_run(Family::gather, p, device) || p.tokens == 0) return false;
  if (p.batch_invariant) return true;
  if (!can_run(Family::fragments, p, device)) return p.tokens > kLookedUp;
  const auto seconds = [&](Family family) {
    return model::predict(select_of(family, p, device), p, device).seconds;
  };
  const double clear = model::constants_of(device).gather.clear;
  return p.tokens > kFragments && seconds(Family::gather) < clear * seconds(Family::fragments);
}

// Fewer tokens, and those of batch-invariant products, are left to fragments.
bool prefers_window(const ProductInfo& p, const DeviceInfo& device) {
  if (p.batch_invariant || p.tokens <= kFragmentTiles.back()) return false;
  if (!can_run(Family::window, p, device)) return false;
  if (!can_run(Family::fragments, p, device)) return true;
  const auto seconds = [&](Family family) {
    return model::predict(select_of(family, p, device), p, device).seconds;
  };
  return seconds(Family::window) < seconds(Family::fragments);
}

// The best of the other families. Of 2:4 and V:2:M it is one for many tokens, and does not look at
// their number: a token's result must not depend on it.
Family preferred_without_decode(const ProductInfo& p, const DeviceInfo& device) {
  if (p.packing == Packing::elements) {
    if (prefers_blocked(p, device)) return Family::blocked;
    if (prefers_gather(p, device)) return Family::gather;
    if (prefers_window(p, device)) return Family::window;
    // From two tokens on tensor cores are as fast as for one, and look-ups are not; but activations
    // that cannot be copied 16 bytes at a time take longer there.
    const bool few = p.tokens <= (p.aligned ? 1 : 2) && !p.batch_invariant;
    return few || !can_run(Family::fragments, p, device) ? Family::lookup : Family::fragments;
  }
  // Vectors of 64 rows are gathered faster, at M = 5 as well (0.96 against 0.82 of dense, H200).
  if (p.vector_blocks == 0 && can_run(Family::expand, p, device)) return Family::expand;
  return can_run(Family::wgmma, p, device) ? Family::wgmma : Family::mma;
}

// The smallest tile of fragments that takes all tokens. Of look-ups, which add up in the same order
// whatever the tile, the fastest; of equals the largest.
int element_tile(Family family, const std::vector<int>& tiles, const ProductInfo& p,
                 const DeviceInfo& device) {
  const auto enough = std::ranges::find_if(
      tiles, [&](int tile) { return tile >= p.tokens || tile == tiles.back(); });
  if (family != Family::lookup || !p.element.staged) return *enough;
  return *std::ranges::min_element(
      std::ranges::subrange(std::make_reverse_iterator(enough + 1), tiles.rend()), {},
      [&](int tile) { return model::lookup_cost(tile, p, device).seconds; });
}

// Sets the tile and its slices.
void choose_tile(Selection& selection, const ProductInfo& p, const DeviceInfo& device) {
  bool first = true;
  std::tuple<double, int, int> least;
  for (std::size_t i = 0; i < kWgmmaShapes.size(); ++i) {
    const WgmmaShape& shape = kWgmmaShapes[i];
    if (!has_tile(shape, selection.family, p)) continue;
    for (const int slices : slice_counts(shape, selection.family, p, device)) {
      const double seconds = selection.family == Family::expand
                                 ? model::expand_cost(shape, slices, p, device).seconds
                             : selection.family == Family::gather
                                 ? model::gather_cost(shape, slices, p, device).seconds
                                 : model::wgmma_cost(shape, slices, p, device).seconds;
      // Of equals the lower one: a tile's rows behind its vector's end cost nothing in the model.
      // But before that, one for which less is gathered: 256 x 128 instead of 128 x 256.
      const std::tuple<double, int, int> cost{
          seconds, shape.dense() ? shape.activation_bytes() / shape.step_cols() : 0, shape.rows()};
      if (!first && cost >= least) continue;
      first = false;
      least = cost;
      selection.shape = static_cast<int>(i);
      selection.slices = slices;
    }
  }
}

// The other forms of a list-packed weight, where expanding it is predicted to pay: kernels of lists
// read it again for every 64 tokens, or 4.
Selection faster_unpacked(const Selection& listed, const ProductInfo& p, const DeviceInfo& device) {
  constexpr int kFew = 16;  // tokens that text generation meets
  if (p.packing != Packing::elements || p.tokens <= kFew) return listed;
  Selection best = listed;
  double least = model::predict(listed, p, device).seconds;
  // Many tokens by windows take longer than predicted (H200: 1.2 to 1.25, vw16 and vw32, 4096).
  if (listed.family == Family::window) least *= model::constants_of(device).unpack.beside_windows;
  for (const Family family : {Family::unpack, Family::two_four}) {
    if (!can_run(family, p, device)) continue;
    const Selection other = select_of(family, p, device);
    const double seconds = model::predict(other, p, device).seconds;
    if (seconds >= least) continue;
    best = other;
    least = seconds;
  }
  return best;
}

}  // namespace

Selection select(const ProductInfo& p, const DeviceInfo& device) {
  const Selection listed = select_of(preferred_without_decode(p, device), p, device);
  const Selection many = faster_unpacked(listed, p, device);
  if (p.batch_invariant || p.tokens == 0 || !can_run(Family::decode, p, device)) return many;
  const Selection few = select_of(Family::decode, p, device);
  const auto seconds = [&](const Selection& s) { return model::predict(s, p, device).seconds; };
  // What text generation meets is left to the other kernels only where the model is sure.
  const double sure = p.tokens <= 16 ? 1.3 : 1;
  return seconds(few) <= sure * seconds(many) ? few : many;
}

Selection select_of(Family family, const ProductInfo& p, const DeviceInfo& device) {
  Selection selection;
  selection.family = family;
  if (is_element_family(family)) {  // they read activations as they are
    const auto tiles = element_tiles(family, p);
    if (p.batch_invariant && family == Family::fragments) {
      // Larger tiles add up in another order (fragment_config.h).
      selection.tile_tokens = p.tokens <= 8 || p.fragment_tokens < 16 ? 8 : 16;
      return selection;
    }
    selection.tile_tokens = element_tile(family, tiles, p, device);
    return selection;
  }
  if (family == Family::blocked) return select_blocked(p, device);
  if (family == Family::unpack) {  // so does the library
    selection.shape = p.element_bytes() == 4 && p.f32_products == F32Products::tf32 ? 1 : 0;
    selection.token_major = p.token_major;
    return selection;
  }
  if (family == Family::two_four) {
    selection = select_of(Family::wgmma, as_two_four(p), device);
    selection.family = family;
    return selection;
  }
  if (family == Family::decode) {  // reads any activations as they are
    selection.decode = decode_shape(p, device);
    selection.token_major = p.token_major;
    return selection;
  }
  const bool reads_tokens =
      (family == Family::wgmma && p.in_order) || (family == Family::gather && p.runs);
  const bool direct = reads_tokens && p.token_major && p.aligned;
  selection.token_major = direct;
  selection.transpose = p.token_major && !direct;
  // The copy engine takes far longer for boxes that reach behind the last token (2:4 with 24
  // tokens: 66 us instead of 21, H200), which few tokens do in every step: a copy has whole rows.
  const bool boxes = family == Family::expand || (family == Family::wgmma && p.in_order) ||
                     (family == Family::gather && p.runs);
  const int whole = family == Family::expand ? 32 : 64;
  const bool ragged = boxes && p.tokens % whole != 0 && p.tokens < kMostRagged;
  selection.repack = !p.token_major && (!p.aligned || ragged);
  int tile_tokens = 0;
  if (family == Family::mma) {
    selection.mma = mma_shape(p, device);
    tile_tokens = selection.mma.config().tile_tokens();
  } else if (family == Family::window) {
    const std::vector<int> shapes = window_shapes(p, device);
    selection.shape = *std::ranges::min_element(shapes, {}, [&](int shape) {
      return model::window_cost(kWindowShapes[static_cast<std::size_t>(shape)], p, device).seconds;
    });
    tile_tokens = kWindowShapes[static_cast<std::size_t>(selection.shape)].tokens;
  } else {
    choose_tile(selection, p, device);
    tile_tokens = kWgmmaShapes[static_cast<std::size_t>(selection.shape)].tile_tokens();
  }
  selection.token_group = token_group(p, tile_tokens, device);
  return selection;
}

std::string_view rows_name(MmaRows rows) {
  return rows == MmaRows::in_order ? "in order" : rows == MmaRows::window ? "window" : "gathered";
}

std::string selection_name(const Selection& selection) {
  if (is_element_family(selection.family))
    return fmt::format("{} {}", selection.family == Family::lookup ? "look-up" : "fragments",
                       selection.tile_tokens);
  const char* before = selection.transpose     ? " after a transpose"
                       : selection.repack      ? " after a copy"
                       : selection.token_major ? " token-major"
                                               : "";
  if (selection.family == Family::blocked) return blocked_name(selection) + before;
  if (selection.family == Family::unpack)
    return selection.shape == 1 ? "unpack dense tf32" : "unpack dense";
  if (selection.family == Family::decode) {
    const DecodeShape& s = selection.decode;
    return fmt::format("decode {}x{} {} slices", kBlockRows * s.row_warps, s.tokens, s.slices());
  }
  if (selection.family == Family::mma) {
    const MmaKernel& kernel = selection.mma.config();
    return fmt::format("mma {}x{} {} {}x{}{}", 64 * kernel.row_warps, kernel.tile_tokens(),
                       rows_name(kernel.rows), selection.mma.stages, kernel.places(), before);
  }
  if (selection.family == Family::window) {
    const WindowShape& shape = kWindowShapes[static_cast<std::size_t>(selection.shape)];
    return fmt::format("window {}x{}{}", shape.rows(), shape.tokens, before);
  }
  const WgmmaShape& shape = kWgmmaShapes[static_cast<std::size_t>(selection.shape)];
  const char* name = selection.family == Family::expand     ? "expand"
                     : selection.family == Family::gather   ? "gather"
                     : selection.family == Family::two_four ? "unpack 2:4"
                                                            : "wgmma";
  return fmt::format("{} {}x{}{}{}", name, shape.rows(), shape.tile_tokens(),
                     selection.slices > 1 ? fmt::format(" {} slices", selection.slices) : "",
                     before);
}

}  // namespace coppice::cuda
