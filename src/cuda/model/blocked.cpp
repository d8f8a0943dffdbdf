#include "cuda/blocked/blocked_select.h"
#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {

namespace {

void add_ends(Cost& cost, const Selection& selection, const ProductInfo& p,
              const Constants::Blocked& c) {
  cost.launch += c.ends_seconds;
  if (selection.transpose || selection.repack)
    cost.launch += c.copy_seconds + 8 * static_cast<double>(p.cols * p.tokens) / c.copy_bytes;
  cost.combine();
}

// Kernels of short vectors: what shared memory delivers to a multiprocessor's warps; and in every
// step what they do to values and columns, which takes their time from products.
Cost short_vectors_cost(const Selection& selection, const ProductInfo& p,
                        const DeviceInfo& device) {
  const Constants& all = constants_of(device);
  const Constants::Blocked& c = all.blocked;
  const BlockedShape& s = kBlockedShapes[static_cast<std::size_t>(selection.shape)];
  const BlockedWindow w = blocked_window(s, p, device);
  const std::int64_t tiles = ceil_div(p.blocked.rows, s.rows()) * ceil_div(p.tokens, s.tokens());
  const Rounds r = rounds_of(tiles, blocked_residents(s, p, device), device);
  const auto own = static_cast<double>(ceil_div(tiles, device.multiprocessors));
  const double clocks = 1 / all.clock_hz, rounds = own / r.together;
  const double steps = w.steps(), outputs = s.rows() * s.tokens();
  const double rate = s.row_lists == 1 ? c.vector_products : c.row_products;
  const double crowding = 1 + c.short_few_warps / (r.together * s.warps());
  Cost cost;
  cost.shared = clocks * own * steps * w.padded_slots() * outputs * crowding / rate;
  cost.l2 = clocks * own * steps *
            (w.part_columns * s.tokens() + w.streams() * w.slots * s.rows()) * 4 / c.l2_bytes;
  cost.latency = clocks * rounds * steps * c.latency_clocks;
  cost.launch = clocks * (own * steps * s.warps() * c.turn_clocks + rounds * c.fill_clocks +
                          own * c.output_clocks * outputs);
  add_ends(cost, selection, p, c);
  return cost;
}

// Kernels of warpgroups by one product: a step takes what the copies of its activations take, and
// more the more values there are; tiles at the end of the tokens as well.
Cost boxes_cost(const Selection& selection, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& all = constants_of(device);
  const Constants::Blocked& c = all.blocked;
  const BlockedShape& s = kBlockedShapes[static_cast<std::size_t>(selection.shape)];
  const std::int64_t tiles = ceil_div(p.blocked.rows, s.rows()) * ceil_div(p.tokens, s.tokens());
  const auto own = static_cast<double>(ceil_div(tiles, device.multiprocessors));
  const double clocks = 1 / all.clock_hz, outputs = s.rows() * s.tokens();
  const double steps = own * static_cast<double>(p.blocked.pieces);
  Cost cost;
  cost.l2 = clocks * steps * (c.box_step_clocks + c.box_row_clocks * s.rows());
  cost.launch = clocks * (c.box_fill_clocks + own * c.box_output_clocks * outputs);
  add_ends(cost, selection, p, c);
  return cost;
}

// Those by three products: tensor cores, what shared memory takes in and delivers (activations
// once, the weight's rows to every product of 64 tokens) and what comes from L2, beside each other;
// a tile's outputs come on top.
Cost warpgroups_cost(const Selection& selection, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& all = constants_of(device);
  const Constants::Blocked& c = all.blocked;
  const BlockedShape& s = kBlockedShapes[static_cast<std::size_t>(selection.shape)];
  const std::int64_t token_tiles = ceil_div(p.tokens, s.tokens());
  const std::int64_t tiles = ceil_div(p.blocked.rows, s.rows()) * token_tiles;
  const auto own = static_cast<double>(ceil_div(tiles, device.multiprocessors));
  // Of the last tokens every copy is a question.
  const double parts = p.tokens % s.tokens() == 0 ? 0 : 1 / static_cast<double>(token_tiles);
  const double steps =
      own * static_cast<double>(ceil_div(p.blocked.pieces, s.group_pieces) * s.group_pieces) *
      (1 + parts * (c.group_part_steps - 1));
  const double clocks = 1 / all.clock_hz, outputs = s.rows() * s.tokens();
  constexpr int kProducts = 3;
  const double values = s.half_units() * BlockedShape::kPieceRows;
  const double in = s.list_bytes() + s.weight_bytes(),
               out = s.list_bytes() + s.tokens() / 64 * kProducts * values;
  Cost cost;
  cost.tensor = clocks * steps * BlockedShape::kSlots * outputs * kProducts / c.group_products;
  cost.shared = clocks * steps * (in + out) / c.group_shared_bytes;
  cost.l2 = clocks * steps * (s.list_bytes() + values) / c.group_l2_bytes;
  cost.latency = clocks * steps * c.group_step_clocks;
  cost.launch = clocks * (c.group_fill_clocks + own * c.group_output_clocks * outputs);
  add_ends(cost, selection, p, c);
  return cost;
}

// Products of a multiprocessor in a clock with very many warps, and the warps that have half of it.
struct WarpsRate {
  double products, few_warps;
};
WarpsRate warps_rate(const BlockedShape& s, const Constants::Blocked& c) {
  if (s.fed()) return {c.fed_products, c.fed_few_warps};
  switch (s.math) {
    case BlockedMath::fp32:
      return {c.fp32_products, c.fp32_few_warps};
    case BlockedMath::split:
      return {c.split_products, c.few_warps};
    case BlockedMath::tf32:
      return {c.tf32_products, c.few_warps};
  }
  return {};
}

}  // namespace

// A multiprocessor has its share of the tiles; a tile begins where one ends, so that only the last
// ones leave it partly idle. What a multiprocessor multiplies in a clock grows with its warps,
// which wait for shared memory and for each other's results. Beside it activations come from L2; a
// step is not shorter than its copies over the stages under way; and a tile's ends come on top.
Cost blocked_cost(const Selection& selection, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& all = constants_of(device);
  const Constants::Blocked& c = all.blocked;
  const BlockedShape& s = kBlockedShapes[static_cast<std::size_t>(selection.shape)];
  if (s.windowed()) return short_vectors_cost(selection, p, device);
  if (s.boxes()) return boxes_cost(selection, p, device);
  if (s.warpgroups()) return warpgroups_cost(selection, p, device);
  const int lists = blocked_lists(s, p);
  const std::int64_t tiles = ceil_div(p.blocked.rows, s.rows()) * ceil_div(p.tokens, s.tokens());
  const Rounds r = rounds_of(tiles, blocked_residents(s, p, device), device);
  const auto own = static_cast<double>(ceil_div(tiles, device.multiprocessors));
  const auto [full_rate, few_warps] = warps_rate(s, c);
  double rate = full_rate;
  if (s.warp_tokens < 64) rate *= c.narrow;
  if (s.warp_units > 4) rate *= c.tall;
  const double outputs = s.rows() * s.tokens();
  const auto steps = static_cast<double>(ceil_div(p.blocked.pieces, s.step_pieces()));
  const double crowding = 1 + few_warps / (r.together * s.warps());
  // Fed kernels: of the last tokens every copy is a question.
  const std::int64_t token_tiles = ceil_div(p.tokens, s.tokens());
  const bool parts = s.fed() && p.tokens % s.tokens() != 0;
  const double slower = parts ? 1 + (c.fed_part_tile - 1) / static_cast<double>(token_tiles) : 1;
  const double clocks = 1 / all.clock_hz, rounds = own / r.together;
  Cost cost;
  cost.tensor = clocks * own * steps * s.step_slots() * outputs * crowding * slower / rate;
  cost.l2 = clocks * own * steps * s.stage_bytes(lists) / c.l2_bytes;
  cost.latency = clocks * rounds * steps * c.latency_clocks / (s.stages - 1);
  cost.launch = clocks * (rounds * c.fill_clocks + own * c.output_clocks * outputs * s.slices);
  add_ends(cost, selection, p, c);
  return cost;
}

}  // namespace coppice::cuda::model
