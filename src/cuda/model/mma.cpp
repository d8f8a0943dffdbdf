// The portable family.
#include <algorithm>

#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {

// For every 32 columns alive a tile needs: the tensor cores, 2 clocks for 16 rows x 8 tokens;
// shared memory for what comes in and for what the warps read (values, and rows of activations, of
// which eight at a time have bank conflicts in a window); L2 for what comes in.
Cost mma_cost(const MmaShape& s, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& constants = constants_of(device);
  const Constants::Mma& c = constants.mma;
  const MmaKernel& k = s.config();
  const double tokens = k.tile_tokens(), blocks = k.row_warps;
  const double weights = blocks * (kValueBytes / 2 + kMetadataBytes / k.halves);
  const double incoming = s.stage_rows / k.halves * tokens * 2 + weights;
  const double passes = k.rows != MmaRows::window ? 1
                        : p.group <= 8            ? c.small_window_passes
                                                  : c.window_passes;
  const double read = weights * k.token_warps + blocks * k.vectors * tokens * 64 * passes;
  const double late = s.stages == 2 ? c.two_stages : 1;
  const std::int64_t tiles = ceil_div(p.blocks, k.row_warps) * ceil_div(p.tokens, k.tile_tokens());
  const auto [together, rounds] = rounds_of(tiles, s.resident, device);
  const double steps = rounds * static_cast<double>(2 * p.steps);
  const double each = steps * together * late / constants.clock_hz;
  Cost cost;
  cost.tensor = each * blocks * tokens;
  cost.shared = each * (incoming + read) / c.shared_bytes;
  cost.l2 = each * incoming / c.incoming_bytes;
  cost.latency = steps * c.alone_clocks / constants.clock_hz;
  cost.launch = rounds * c.fill_clocks / constants.clock_hz;
  cost.combine();
  return cost;
}

}  // namespace coppice::cuda::model
