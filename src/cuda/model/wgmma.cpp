// Families that gather or expand into wgmma tiles.
#include <algorithm>

#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {
namespace {

// A cluster's start and barrier, and sums from one thread block to another.
double slice_clocks(const Constants& c, const WgmmaShape& s, int slices) {
  return (slices - 1) * (c.slice_clocks + c.slice_output_clocks * s.rows() * s.tile_tokens());
}

}  // namespace

// Per step of 64 columns a tile needs the tensor cores, N / 2 + 16 clocks for every m64nNk32 with
// A in shared memory; L2 for what comes in; and no step is faster than the latency of a copy over
// the stages that are under way. A tile's ends cost as its outputs do.
Cost wgmma_cost(const WgmmaShape& s, int slices, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& constants = constants_of(device);
  const Constants::Wgmma& c = constants.wgmma;
  // Rows behind a vector's end are neither copied nor multiplied.
  const double blocks = std::min(s.blocks(), std::max(p.vector_blocks, 1));
  const double multiply = c.multiply * 2 * blocks * s.token_groups * (s.tokens / 2.0 + 16);
  const double rate = p.in_order            ? c.order_bytes
                      : blocks < s.blocks() ? c.part_bytes
                                            : c.gather_bytes;
  const double copies = (s.activation_bytes() + blocks * kRecordBytes) / rate;
  const auto [together, rounds] =
      rounds_of(tile_count(s, Family::wgmma, p) * slices, s.thread_blocks, device);
  // More buffers for outputs pay where many tiles follow each other, more stages where few do.
  const double fill = rounds > 3 && s.staging > 2 ? c.fill_many_clocks : c.fill_clocks;
  const double outputs = together * blocks * kBlockRows * s.tile_tokens();
  const double steps = rounds * static_cast<double>(ceil_div(p.steps, slices));
  Cost cost;
  cost.tensor = steps * (together * multiply + c.barrier_clocks) / constants.clock_hz;
  cost.l2 = steps * (together * copies + c.barrier_clocks) / constants.clock_hz;
  cost.latency = steps * (c.latency_clocks / s.stages + c.barrier_clocks) / constants.clock_hz;
  cost.launch = (rounds * (fill + c.output_clocks * outputs) + slice_clocks(constants, s, slices)) /
                constants.clock_hz;
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
  cost.tensor = steps * together * multiply / constants.clock_hz;
  cost.l2 =
      steps * together * incoming / (p.runs ? c.run_bytes : c.gather_bytes) / constants.clock_hz;
  cost.latency = p.runs ? 0 : steps * copies / constants.clock_hz;
  cost.launch =
      (rounds * (c.fill_clocks + c.output_clocks * outputs) + slice_clocks(constants, s, slices)) /
      constants.clock_hz;
  cost.combine();
  return cost;
}

// A part of a step: products of A in registers, N / 2 clocks each, what comes in, and no less than
// it takes to fill the registers and multiply by them.
Cost expand_cost(const WgmmaShape& s, int slices, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& constants = constants_of(device);
  const Constants::Expand& c = constants.expand;
  const expand::Parts parts = expand::parts(p.group == 5);
  const double products = static_cast<double>(parts.products * s.blocks() * s.token_groups);
  const double multiply = c.multiply * products * (s.tokens / 2.0 + 16);
  const double incoming = s.expand_part_bytes(p.group == 5) + s.weight_bytes() / parts.count;
  const auto [together, rounds] =
      rounds_of(tile_count(s, Family::expand, p) * slices, s.thread_blocks, device);
  const double count = rounds * static_cast<double>(ceil_div(p.steps, slices) * parts.count);
  Cost cost;
  cost.tensor = count * together * multiply / constants.clock_hz;
  cost.l2 = count * together * incoming / c.incoming_bytes / constants.clock_hz;
  cost.latency =
      count * (c.least_clocks + c.least_token_clocks * s.tile_tokens()) / constants.clock_hz;
  cost.launch = (rounds * c.fill_clocks + slice_clocks(constants, s, slices)) / constants.clock_hz;
  cost.combine();
  return cost;
}

}  // namespace coppice::cuda::model
