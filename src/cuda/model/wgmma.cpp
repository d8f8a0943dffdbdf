// Families that gather or expand into wgmma tiles.
#include <algorithm>

#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {
namespace {

// 2:4-effective operations of a block of 64 rows in a step of 64 columns, for every token.
constexpr double kBlockFlops = 2.0 * kBlockRows * kStepCols;

// A cluster's start and barrier, and sums from one thread block to another.
double slice_clocks(double start, double output, const WgmmaShape& s, int slices) {
  return (slices - 1) * (start + output * s.rows() * s.tile_tokens());
}

// What differs between kernels that expand.
struct ExpandRates {
  double multiply, incoming_bytes, l2_share, least_clocks, least_token_clocks, fill_clocks;
  double turn_clocks, turn_token_clocks, turn_output_clocks;
};
ExpandRates expand_rates(const Constants::Expand& c, expand::Form form) {
  if (form == expand::Form::sixteens)
    return {c.ordered_multiply,     c.ordered_incoming_bytes,     c.ordered_l2_share,
            c.ordered_least_clocks, c.ordered_least_token_clocks, c.ordered_fill_clocks,
            c.ordered_turn_clocks,  c.ordered_turn_token_clocks,  c.ordered_turn_output_clocks};
  return {c.multiply,     c.incoming_bytes,     c.l2_share,
          c.least_clocks, c.least_token_clocks, c.fill_clocks,
          c.turn_clocks,  c.turn_token_clocks,  c.turn_output_clocks};
}

}  // namespace

// Per step of 64 columns a tile needs the tensor cores, N / 2 + 16 clocks for every m64nNk32 with
// A in shared memory; the multiprocessor's port for what comes in; and no step is faster than the
// latency of a copy over the stages that are under way. All together must not need more than L2
// gives, nor more power than there is. A tile's ends cost as its outputs do.
Cost wgmma_cost(const WgmmaShape& s, int slices, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const double clock = levels.clock_hz;
  const Constants::Wgmma& c = levels.wgmma;
  // Rows behind a vector's end are neither copied nor multiplied.
  const double blocks = std::min(s.blocks(), std::max(p.vector_blocks, 1));
  const double multiply = c.multiply * 2 * blocks * s.token_groups * (s.tokens / 2.0 + 16);
  const double port = p.in_order            ? c.order_bytes
                      : blocks < s.blocks() ? c.part_bytes
                                            : c.gather_bytes;
  const double incoming = s.activation_bytes() + blocks * kRecordBytes;
  const std::int64_t tiles = tile_count(s, Family::wgmma, p) * slices;
  const auto [together, rounds] = rounds_of(tiles, s.thread_blocks, device);
  // More buffers for outputs pay where many tiles follow each other, more stages where few do.
  const bool many = rounds > 3 && s.staging > 2;
  const double fill = many ? c.fill_many_clocks : c.fill_clocks;
  const double output = many && p.in_order ? c.output_many_clocks : c.output_clocks;
  const double outputs = together * blocks * kBlockRows * s.tile_tokens();
  const auto tile_steps = static_cast<double>(ceil_div(p.steps, slices));
  const double steps = rounds * tile_steps;
  const double all_steps = static_cast<double>(tiles) * tile_steps;
  Cost cost;
  cost.tensor = std::max(
      steps * (together * multiply + c.barrier_clocks) / clock,
      all_steps * blocks * kBlockFlops * s.tile_tokens() / (c.power_share * levels.tensor_flops));
  cost.l2 = std::max(
      steps * (together * incoming / port + c.barrier_clocks) / clock,
      all_steps * incoming / (levels.l2_bytes * (p.in_order ? c.order_l2_share : c.l2_share)));
  const double latency = p.in_order ? c.order_latency_clocks : c.latency_clocks;
  cost.latency = steps * (latency / s.stages + c.barrier_clocks) / clock;
  // Outputs leave in whole boxes, as columns in order come.
  const double boxes = p.in_order ? moved_bytes(p) : output_bytes(p);
  cost.memory = boxes / (levels.memory_bytes * c.order_memory_share) +
                (moved_bytes(p) - boxes) / (levels.memory_bytes * c.memory_share);
  cost.launch = c.ends_seconds + (rounds * (fill + output * outputs) +
                                  slice_clocks(c.slice_clocks, c.slice_output_clocks, s, slices)) /
                                     clock;
  cost.combine();
  return cost;
}

// Per step a tile needs the tensor cores, N / 2 clocks for every m64nNk16; L2 for what comes in;
// and the warpgroup that gathers. Fitted to 81 products with every tile on an H200, whose times it
// meets within 8 % (root mean square).
Cost gather_cost(const WgmmaShape& s, int slices, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& constants = constants_of(device);
  const Constants::Gather& c = constants.gather;
  const double blocks = std::min(s.blocks(), std::max(p.vector_blocks, 1));
  const double multiply = c.multiply * s.step_cols() / 16 * blocks * s.token_groups * s.tokens / 2;
  const double incoming = s.activation_bytes() + blocks * s.block_bytes();
  const double copies = c.step_clocks + c.copy_clocks * s.activation_bytes() / 512;
  const auto [together, rounds] =
      rounds_of(tile_count(s, Family::gather, p) * slices, s.thread_blocks, device);
  const double outputs = together * blocks * kBlockRows * s.tile_tokens();
  const double steps =
      rounds * static_cast<double>(ceil_div(p.steps * kStepCols / s.step_cols(), slices));
  Cost cost;
  cost.tensor = steps * together * multiply / c.clock_hz;
  cost.l2 = steps * together * incoming / (p.runs ? c.run_bytes : c.gather_bytes) / c.clock_hz;
  cost.latency = p.runs ? 0 : steps * copies / c.clock_hz;
  cost.launch = (rounds * (c.fill_clocks + c.output_clocks * outputs) +
                 slice_clocks(c.slice_clocks, c.slice_output_clocks, s, slices)) /
                c.clock_hz;
  cost.launch += c.ends_seconds;
  cost.memory =
      static_cast<double>(p.blocks * p.steps) * kBlockRows * kStepCols * 2 / c.memory_bytes;
  cost.combine();
  return cost;
}

// A part of a step: products of A in registers, N / 2 clocks each, what comes in, and no less than
// it takes to fill the registers and multiply by them.
Cost expand_cost(const WgmmaShape& s, int slices, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const double clock = levels.clock_hz;
  const Constants::Expand& c = levels.expand;
  const expand::Form form = expand::form_of(p.group);
  const ExpandRates rates = expand_rates(c, form);
  const expand::Parts parts = expand::parts(form);
  const double products = static_cast<double>(parts.products * s.blocks() * s.token_groups);
  const double multiply =
      (p.group == 5 ? c.five_multiply : 1) * rates.multiply * products * (s.tokens / 2.0 + 16);
  const double incoming = s.expand_part_bytes(form) + s.weight_bytes() / parts.count;
  const std::int64_t tiles = tile_count(s, Family::expand, p) * slices;
  const auto [together, rounds] = rounds_of(tiles, s.thread_blocks, device);
  const auto tile_parts = static_cast<double>(ceil_div(p.steps, slices) * parts.count);
  const double count = rounds * tile_parts, all_parts = static_cast<double>(tiles) * tile_parts;
  Cost cost;
  cost.tensor = std::max(
      count * together * multiply / clock,
      all_parts * products * kBlockFlops / 2 * s.tokens / (c.power_share * levels.tensor_flops));
  const bool turns = s.col_groups > 1;
  cost.l2 = count * together * incoming / rates.incoming_bytes / clock;
  // What L2 gives for turns is in their step's time, but where columns come in order, which takes
  // less.
  if (!turns || form == expand::Form::sixteens)
    cost.l2 = std::max(cost.l2, all_parts * incoming / (levels.l2_bytes * rates.l2_share));
  const double filling = p.group == 5 ? c.five_latency : p.group < 8 ? c.gap_latency : 1;
  const double tokens = s.tile_tokens();
  cost.memory = moved_bytes(p) / (levels.memory_bytes * c.memory_share);
  if (turns) {
    cost.latency = count * filling / clock *
                   (rates.turn_clocks + rates.turn_token_clocks * tokens) /
                   (s.col_groups * parts.count);
    // Thread blocks of one tile each come one after the other, ends and all.
    cost.launch = rounds * (c.ends_seconds + rates.turn_output_clocks * tokens / clock);
  } else {
    cost.latency = count * filling / clock * (1 + c.beside * (together - 1)) *
                   (rates.least_clocks + rates.least_token_clocks * tokens);
    cost.launch =
        c.ends_seconds + ((rounds - 1) * rates.fill_clocks +
                          slice_clocks(c.slice_clocks, c.slice_output_clocks, s, slices)) /
                             clock;
  }
  cost.combine();
  return cost;
}

}  // namespace coppice::cuda::model
