#include "cuda/select.h"

#include <fmt/format.h>

#include <algorithm>

#include "coppice/error.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Row tiles if vectors of `vector_blocks` are cut into tiles of at most `tile_blocks`.
std::int64_t row_tiles(const ProductInfo& p, int tile_blocks) {
  if (p.vector_blocks == 0) return ceil_div(p.blocks, tile_blocks);
  return ceil_div(p.blocks, p.vector_blocks) * ceil_div(p.vector_blocks, tile_blocks);
}

}  // namespace

// As many token tiles together as keep their activations in a fifth of L2: weights and outputs pass
// through it too, and each half of the chip keeps copies (best of 1/12 to 1/1.5 on an H200).
int token_group(const ProductInfo& p, int tile_tokens, const DeviceInfo& device) {
  const std::int64_t panel = std::max<std::int64_t>(1, p.cols * tile_tokens * 2);
  const std::int64_t tiles = ceil_div(p.tokens, tile_tokens);
  return static_cast<int>(std::clamp<std::int64_t>(device.l2_bytes / 5 / panel, 1, tiles));
}

// Per step of 64 columns a tile needs: the tensor cores for blocks x tokens, shared memory for
// what comes in and for what every wgmma reads (A and B), L2 for what comes in. The largest counts.
// Constants: 128 B/clk of shared memory, 40 B/clk/SM from L2 at the clock under load, and 3000
// clocks to fill and empty a tile's pipeline, all measured on an H200.
double predicted_clocks(const WgmmaShape& s, const ProductInfo& p, const DeviceInfo& device) {
  const double blocks = s.blocks(), tokens = s.tile_tokens();
  const double incoming = tokens * kStepCols * 2 + blocks * kRecordBytes;
  const double read = blocks * (tokens * kStepCols * 2 + s.token_groups * kValueBytes);
  const double multiply = blocks * tokens;
  const double step = std::max({multiply, (incoming + read) / 128, incoming / 40});
  const std::int64_t tiles = row_tiles(p, s.blocks()) * ceil_div(p.tokens, s.tile_tokens());
  const std::int64_t processors = device.multiprocessors;
  const std::int64_t resident = std::min<std::int64_t>(
      s.thread_blocks, std::max<std::int64_t>(1, ceil_div(tiles, processors)));
  const double rounds = static_cast<double>(ceil_div(tiles, processors * resident));
  const double fill = 3000;
  return rounds * (static_cast<double>(p.steps * resident) * step + fill);
}

MmaShape mma_shape(const ProductInfo& p, const DeviceInfo& device) {
  MmaShape shared, gathered;
  shared.vectors = gathered.vectors = p.block_vectors;
  shared.stage_rows = kStepQuads / 2 * p.group;
  gathered.gathered = true;
  gathered.stage_rows = MmaShape::kBlocks * p.block_vectors * kStepCols / 2;
  const auto fits = [&](MmaShape& shape) {
    constexpr int kMostStages = 4;
    const int stages = (device.shared_bytes - 128) / shape.stage_bytes();
    shape.stages = std::min(stages, kMostStages);
    return stages >= 2;
  };
  const bool can_share = p.regular && fits(shared), can_gather = fits(gathered);
  if (!can_share && !can_gather)
    throw DeviceError(fmt::format(
        "vectors of fewer than 64 rows with M = {} need {} bytes of shared memory, the device has "
        "{}: choose a larger V or a smaller M",
        p.group, 2 * gathered.stage_bytes(), device.shared_bytes));
  const bool less_traffic = shared.stage_rows <= gathered.stage_rows;
  return can_share && (less_traffic || !can_gather) ? shared : gathered;
}

namespace {

bool prefers_mma(const ProductInfo& p, const DeviceInfo& device) {
  return !device.has_wgmma || p.vector_blocks == 0;
}

int best_wgmma(const ProductInfo& p, const DeviceInfo& device, bool token_major) {
  int best = -1;
  double best_clocks = 0;
  for (std::size_t i = 0; i < kWgmmaShapes.size(); ++i) {
    if (token_major && !kWgmmaShapes[i].token_major) continue;
    const double clocks = predicted_clocks(kWgmmaShapes[i], p, device);
    if (best >= 0 && clocks >= best_clocks) continue;
    best_clocks = clocks;
    best = static_cast<int>(i);
  }
  return best;
}

}  // namespace

Selection select(const ProductInfo& p, const DeviceInfo& device) {
  Selection selection;
  selection.family = prefers_mma(p, device) ? Family::mma : Family::wgmma;
  const bool direct = selection.family == Family::wgmma && p.in_order && p.token_major && p.aligned;
  selection.token_major = direct;
  selection.transpose = p.token_major && !direct;
  selection.repack = !p.token_major && !p.aligned;
  int tile_tokens = 0;
  if (selection.family == Family::wgmma) {
    selection.shape = best_wgmma(p, device, direct);
    tile_tokens = kWgmmaShapes[static_cast<std::size_t>(selection.shape)].tile_tokens();
  } else {
    selection.mma = mma_shape(p, device);
    tile_tokens = selection.mma.tile_tokens();
  }
  selection.token_group = token_group(p, tile_tokens, device);
  return selection;
}

std::string selection_name(const Selection& selection) {
  const char* before = selection.transpose     ? " after a transpose"
                       : selection.repack      ? " after a copy"
                       : selection.token_major ? " token-major"
                                               : "";
  if (selection.family == Family::mma)
    return fmt::format("mma 256x{} {} x{}{}", selection.mma.tile_tokens(),
                       selection.mma.gathered ? "gathered" : "shared", selection.mma.stages,
                       before);
  const WgmmaShape& shape = kWgmmaShapes[static_cast<std::size_t>(selection.shape)];
  return fmt::format("wgmma {}x{}{}", shape.rows(), shape.tile_tokens(), before);
}

}  // namespace coppice::cuda
