// The portable family.
#include <algorithm>

#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {

// For every 32 columns alive a tile needs: the tensor cores, 2 clocks for 16 rows x 8 tokens;
// shared memory for what comes in and for what the warps read (values, and rows of activations, of
// which eight at a time have bank conflicts in a window); L2 for what comes in.
Cost mma_cost(const MmaShape& s, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const double clock = levels.clock_hz;
  const Constants::Mma& c = levels.mma;
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
  const double all_steps = static_cast<double>(tiles * 2 * p.steps);
  const double each = steps * together * late / clock;
  Cost cost;
  cost.tensor = std::max(each * c.multiply * blocks * tokens,
                         all_steps * blocks * tokens * 2 * kBlockRows * kStepCols / 2 /
                             (c.power_share * levels.tensor_flops));
  cost.shared = each * (incoming + read) / c.shared_bytes;
  cost.l2 = std::max(each * incoming / c.incoming_bytes,
                     all_steps * incoming / (levels.l2_bytes * c.l2_share));
  cost.latency = steps * c.alone_clocks / clock;
  cost.memory = moved_bytes(p) / (levels.memory_bytes * c.memory_share);
  cost.launch = c.ends_seconds + rounds * c.fill_clocks / clock;
  cost.combine();
  return cost;
}

}  // namespace coppice::cuda::model
