#include "cuda/blocked/blocked_select.h"
#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {

// A multiprocessor has its share of the tiles; a tile begins where one ends, so that only the last
// ones leave it partly idle. What a multiprocessor multiplies in a clock grows with its warps,
// which wait for shared memory and for each other's results. Beside it activations come from L2; a
// step is not shorter than its copies over the stages under way; and a tile's ends come on top.
Cost blocked_cost(const Selection& selection, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& all = constants_of(device);
  const Constants::Blocked& c = all.blocked;
  const BlockedShape& s = kBlockedShapes[static_cast<std::size_t>(selection.shape)];
  const int lists = blocked_lists(s, p);
  const std::int64_t tiles = ceil_div(p.blocked.rows, s.rows()) * ceil_div(p.tokens, s.tokens());
  const Rounds r = rounds_of(tiles, blocked_residents(s, lists, device), device);
  const auto own = static_cast<double>(ceil_div(tiles, device.multiprocessors));
  double rate = s.math == BlockedMath::fp32    ? c.fp32_products
                : s.math == BlockedMath::split ? c.split_products
                                               : c.tf32_products;
  if (s.warp_tokens < 64) rate *= c.narrow;
  if (s.warp_units > 4) rate *= c.tall;
  const double outputs = s.rows() * s.tokens();
  const auto steps = static_cast<double>(ceil_div(p.blocked.pieces, s.step_pieces()));
  const double crowding = 1 + c.few_warps / (r.together * s.warps());
  const double clocks = 1 / all.clock_hz, rounds = own / r.together;
  Cost cost;
  cost.tensor = clocks * own * steps * s.step_slots() * outputs * crowding / rate;
  cost.l2 = clocks * own * steps * s.stage_bytes(lists) / c.l2_bytes;
  cost.latency = clocks * rounds * steps * c.latency_clocks / (s.stages - 1);
  cost.launch = clocks * (rounds * c.fill_clocks + own * c.output_clocks * outputs * s.slices) +
                c.ends_seconds;
  if (selection.transpose || selection.repack)
    cost.launch += c.copy_seconds + 8 * static_cast<double>(p.cols * p.tokens) / c.copy_bytes;
  cost.combine();
  return cost;
}

}  // namespace coppice::cuda::model
