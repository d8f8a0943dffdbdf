#include "cuda/select.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "coppice/error.h"
#include "cuda/decode_select.h"
#include "cuda/kernels/sparse_mma_layout.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Row tiles if vectors of `vector_blocks` are cut into tiles of at most `tile_blocks`.
std::int64_t row_tiles(const ProductInfo& p, int tile_blocks) {
  if (p.vector_blocks == 0) return ceil_div(p.blocks, tile_blocks);
  return ceil_div(p.blocks, p.vector_blocks) * ceil_div(p.vector_blocks, tile_blocks);
}

std::int64_t tile_count(const WgmmaShape& s, Family family, const ProductInfo& p) {
  const std::int64_t rows =
      family == Family::expand ? ceil_div(p.blocks, s.blocks()) : row_tiles(p, s.blocks());
  return rows * ceil_div(p.tokens, s.tile_tokens());
}

// A cluster's start and barrier, and sums from one thread block to another.
double slice_clocks(const WgmmaShape& s, int slices) {
  return (slices - 1) * (800 + 0.3 * s.rows() * s.tile_tokens());
}

}  // namespace

std::vector<int> slice_counts(const WgmmaShape& s, Family family, const ProductInfo& p,
                              const DeviceInfo& device) {
  std::vector<int> counts{1};
  const std::int64_t most = p.batch_invariant ? 1 : std::min<std::int64_t>(s.slices, p.steps);
  const std::int64_t room = std::int64_t{device.multiprocessors} * s.thread_blocks;
  // A cluster lies within a part of the GPU: of 132 multiprocessors an H200 has 120 for fours.
  const auto fits = [&](int slices) {
    return tile_count(s, family, p) * slices <= (slices == 2 ? room : room * 7 / 8);
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

// Per step of 64 columns a tile needs the tensor cores, N / 2 + 16 clocks for every m64nNk32 with
// A in shared memory; L2 for what comes in; and no step is faster than the latency of a copy over
// the stages that are under way. The largest counts. A tile's ends cost as its outputs do. Fitted
// to 170 products of 64 to 4096 tokens with every tile on an H200, where it chooses the fastest
// tile or one at most 4 % slower: 43 B/clk/SM from L2 for a gather, 8 % less if the vector
// does not fill the tile, 58 for tiles in order (neighbours ask for the same lines, and L2 answers
// once), 1.5 times the tensor cores' clocks, as power allows.
double predicted_clocks(const WgmmaShape& s, const ProductInfo& p, const DeviceInfo& device,
                        int slices) {
  constexpr double kLatency = 3100, kBarriers = 60;
  // Rows behind a vector's end are neither copied nor multiplied.
  const double blocks = std::min(s.blocks(), std::max(p.vector_blocks, 1));
  const double multiply = 1.5 * 2 * blocks * s.token_groups * (s.tokens / 2.0 + 16);
  const double rate = p.in_order ? 58 : blocks < s.blocks() ? 39.6 : 43;
  const double copies = (s.activation_bytes() + blocks * kRecordBytes) / rate;
  const std::int64_t tiles = tile_count(s, Family::wgmma, p) * slices;
  const std::int64_t processors = device.multiprocessors;
  const std::int64_t resident = std::min<std::int64_t>(
      s.thread_blocks, std::max<std::int64_t>(1, ceil_div(tiles, processors)));
  const double together = static_cast<double>(resident);
  const double rounds = static_cast<double>(ceil_div(tiles, processors * resident));
  const double step =
      std::max(together * std::max(multiply, copies), kLatency / s.stages) + kBarriers;
  // More buffers for outputs pay where many tiles follow each other, more stages where few do.
  const double fill = rounds > 3 && s.staging > 2 ? 1900 : 2200;
  const double outputs = together * blocks * kBlockRows * s.tile_tokens();
  const auto steps = static_cast<double>(ceil_div(p.steps, slices));
  return rounds * (steps * step + fill + 0.08 * outputs) + slice_clocks(s, slices);
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

// For every 32 columns alive a tile needs: the tensor cores, 2 clocks for 16 rows x 8 tokens;
// shared memory for what comes in and for what the warps read (values, and rows of activations, of
// which eight at a time have bank conflicts in a window); L2 for what comes in.
double predicted_clocks(const MmaShape& s, const ProductInfo& p, const DeviceInfo& device) {
  const MmaKernel& k = s.config();
  const double tokens = k.tile_tokens(), blocks = k.row_warps;
  const double weights = blocks * (kValueBytes / 2 + kMetadataBytes / k.halves);
  const double incoming = s.stage_rows / k.halves * tokens * 2 + weights;
  const double passes = k.rows != MmaRows::window ? 1 : p.group <= 8 ? 2 : 2.4;
  const double read = weights * k.token_warps + blocks * k.vectors * tokens * 64 * passes;
  const double multiply = blocks * tokens;
  // With two stages, copies have too little time to arrive.
  const double late = s.stages == 2 ? 1.2 : 1;
  const double step = late * std::max({multiply, (incoming + read) / 128, incoming / 40});
  const std::int64_t tiles = ceil_div(p.blocks, k.row_warps) * ceil_div(p.tokens, k.tile_tokens());
  const std::int64_t processors = device.multiprocessors;
  const std::int64_t resident =
      std::min<std::int64_t>(s.resident, std::max<std::int64_t>(1, ceil_div(tiles, processors)));
  const double rounds = static_cast<double>(ceil_div(tiles, processors * resident));
  const double alone = 400, fill = 3000;  // of one warp for a step; of a tile
  const double steps = static_cast<double>(2 * p.steps);
  return rounds * (steps * std::max(alone, static_cast<double>(resident) * step) + fill);
}

MmaShape mma_shape(const ProductInfo& p, const DeviceInfo& device) {
  const std::vector<MmaShape> shapes = mma_shapes(p, device);
  if (shapes.empty())
    throw DeviceError(fmt::format(
        "vectors of fewer than 64 rows with M = {} need more shared memory than the {} bytes that "
        "the device has: choose a larger V or a smaller M",
        p.group, device.shared_bytes));
  return *std::ranges::min_element(
      shapes, {}, [&](const MmaShape& shape) { return predicted_clocks(shape, p, device); });
}

// A part of a step: products of A in registers, N / 2 clocks each, what comes in, and no less than
// it takes to fill the registers and multiply by them. Orders the tiles as the times on an H200
// did.
double predicted_expand_clocks(const WgmmaShape& s, const ProductInfo& p, const DeviceInfo& device,
                               int slices) {
  const expand::Parts parts = expand::parts(p.group == 5);
  const double products = static_cast<double>(parts.products * s.blocks() * s.token_groups);
  const double multiply = 1.13 * products * (s.tokens / 2.0 + 16);
  const double incoming = s.expand_part_bytes(p.group == 5) + s.weight_bytes() / parts.count;
  const double part = std::max(multiply, incoming / 66.0);
  const std::int64_t tiles = tile_count(s, Family::expand, p) * slices;
  const std::int64_t processors = device.multiprocessors;
  const std::int64_t resident = std::min<std::int64_t>(
      s.thread_blocks, std::max<std::int64_t>(1, ceil_div(tiles, processors)));
  const double rounds = static_cast<double>(ceil_div(tiles, processors * resident));
  const double least = 460 + 3 * s.tile_tokens();
  const auto count = static_cast<double>(ceil_div(p.steps, slices) * parts.count);
  return rounds * (count * std::max(static_cast<double>(resident) * part, least) + 3000) +
         slice_clocks(s, slices);
}

bool has_tile(const WgmmaShape& shape, Family family, const ProductInfo& p) {
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

bool can_run(Family family, const ProductInfo& p, const DeviceInfo& device) {
  if (is_element_family(family) != (p.packing == Packing::elements)) return false;
  if (family == Family::lookup) return true;
  if (family == Family::fragments) return p.fragment_tokens > 0;
  if (family == Family::mma) return true;
  if (family == Family::decode) return !decode_shapes(p, device).empty();
  // A wgmma tile is announced with its first step: there must be one.
  if (!device.has_wgmma || p.steps == 0) return false;
  if (family == Family::wgmma) return p.vector_blocks > 0;
  return p.regular && !p.in_order && p.group >= expand::kLeastGroup &&
         p.group <= expand::kMostGroup;
}

namespace {

// The best of the other families. Of 2:4 and V:2:M it is one for many tokens, and does not look at
// their number: a token's result must not depend on it.
Family preferred_without_decode(const ProductInfo& p, const DeviceInfo& device) {
  if (p.packing == Packing::elements) {
    // From two tokens on tensor cores are as fast as for one, and look-ups are not; but activations
    // that cannot be copied 16 bytes at a time take longer there.
    const bool few = p.tokens <= (p.aligned ? 1 : 2) && !p.batch_invariant;
    return few || !can_run(Family::fragments, p, device) ? Family::lookup : Family::fragments;
  }
  // Vectors of 64 rows are gathered faster, at M = 5 as well (0.96 against 0.82 of dense, H200).
  if (p.vector_blocks == 0 && can_run(Family::expand, p, device)) return Family::expand;
  return can_run(Family::wgmma, p, device) ? Family::wgmma : Family::mma;
}

// Sets the tile and its slices.
void choose_tile(Selection& selection, const ProductInfo& p, const DeviceInfo& device) {
  bool first = true;
  std::pair<double, int> least;
  for (std::size_t i = 0; i < kWgmmaShapes.size(); ++i) {
    const WgmmaShape& shape = kWgmmaShapes[i];
    if (!has_tile(shape, selection.family, p)) continue;
    for (const int slices : slice_counts(shape, selection.family, p, device)) {
      const double clocks = selection.family == Family::expand
                                ? predicted_expand_clocks(shape, p, device, slices)
                                : predicted_clocks(shape, p, device, slices);
      // Of equals the lower one: a tile's rows behind its vector's end cost nothing in the model.
      const std::pair<double, int> cost{clocks, shape.rows()};
      if (!first && cost >= least) continue;
      first = false;
      least = cost;
      selection.shape = static_cast<int>(i);
      selection.slices = slices;
    }
  }
}

// Of the families for many tokens: clocks, and what few tokens cannot hide.
double predicted_seconds(const Selection& s, const ProductInfo& p, const DeviceInfo& device) {
  const auto& tile = kWgmmaShapes[static_cast<std::size_t>(s.shape)];
  const double clocks = s.family == Family::mma ? predicted_clocks(s.mma, p, device)
                        : s.family == Family::wgmma
                            ? predicted_clocks(tile, p, device, s.slices)
                            : predicted_expand_clocks(tile, p, device, s.slices);
  constexpr double kClock = 1.7e9, kMemory = 3.5e12, kEnds = 3e-6;
  const double weight = static_cast<double>(p.blocks * p.steps) * kRecordBytes;
  const double copy = s.transpose || s.repack ? 2e-6 : 0;
  return std::max(clocks / kClock, weight / kMemory) + copy + kEnds;
}

}  // namespace

Selection select(const ProductInfo& p, const DeviceInfo& device) {
  const Selection many = select_of(preferred_without_decode(p, device), p, device);
  if (p.batch_invariant || p.tokens == 0 || !can_run(Family::decode, p, device)) return many;
  const Selection few = select_of(Family::decode, p, device);
  return predicted_seconds(few.decode, p, device) <= predicted_seconds(many, p, device) ? few
                                                                                        : many;
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
    selection.tile_tokens = *std::ranges::find_if(
        tiles, [&](int tile) { return tile >= p.tokens || tile == tiles.back(); });
    return selection;
  }
  if (family == Family::decode) {  // reads any activations as they are
    selection.decode = decode_shape(p, device);
    selection.token_major = p.token_major;
    return selection;
  }
  const bool direct = family == Family::wgmma && p.in_order && p.token_major && p.aligned;
  selection.token_major = direct;
  selection.transpose = p.token_major && !direct;
  selection.repack = !p.token_major && !p.aligned;
  int tile_tokens = 0;
  if (family == Family::mma) {
    selection.mma = mma_shape(p, device);
    tile_tokens = selection.mma.config().tile_tokens();
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
  if (selection.family == Family::decode) {
    const DecodeShape& s = selection.decode;
    return fmt::format("decode {}x{} {} slices", kBlockRows * s.row_warps, s.tokens, s.slices());
  }
  if (selection.family == Family::mma) {
    const MmaKernel& kernel = selection.mma.config();
    return fmt::format("mma {}x{} {} {}x{}{}", 64 * kernel.row_warps, kernel.tile_tokens(),
                       rows_name(kernel.rows), selection.mma.stages, kernel.places(), before);
  }
  const WgmmaShape& shape = kWgmmaShapes[static_cast<std::size_t>(selection.shape)];
  return fmt::format("{} {}x{}{}{}", selection.family == Family::expand ? "expand" : "wgmma",
                     shape.rows(), shape.tile_tokens(),
                     selection.slices > 1 ? fmt::format(" {} slices", selection.slices) : "",
                     before);
}

}  // namespace coppice::cuda
