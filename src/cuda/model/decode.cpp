// The decode family: few tokens, weights straight from memory to registers.
#include <algorithm>
#include <cmath>

#include "cuda/element/resident_blocks.h"
#include "cuda/kernels/decode_ring_sizes.h"
#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {
namespace {

double count(auto value) { return static_cast<double>(value); }

// Where columns are listed: quads of columns that a thread picks for a token.
double listed_quads(const DecodeShape& s, const ProductInfo& p, const DeviceInfo& device) {
  const int units =
      std::min(static_cast<int>(ceil_div(p.blocks * kBlockUnits, device.multiprocessors)),
               decode::most_tile_units(s));
  const double vectors = count(decode::most_vectors(std::max(1, units), p.block_vectors));
  return vectors * count(p.steps) * kStepQuads / s.threads();
}

// The weight at the rate of memory, or the steps of a warp one after the other; and what rings that
// are full between kernels leave of the overlapping.
Cost ring_cost(const DecodeShape& s, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Decode& c = levels.decode;
  const double tiles = count(ceil_div(p.tokens, s.tokens)), panels = count(s.panels());
  const double steps = tiles * count(ceil_div(p.steps, s.slices()) * decode::warp_slices(s));
  const bool copied = p.token_major ? p.aligned : p.tokens == 1;
  Cost cost;
  cost.memory = tiles * count(p.blocks * p.steps * kRecordBytes) /
                (levels.memory_bytes * (s.tokens == 8 ? c.ring_share : c.ring_wide_share));
  cost.latency = steps * (s.tokens == 8 ? c.ring_step_seconds : c.ring_wide_step_seconds);
  cost.l2 = copied ? 0 : steps * panels * panels * c.ring_loose_seconds * (p.aligned ? 1 : 1.7);
  cost.launch = c.ring_ends_seconds + c.ring_token_seconds * count(p.tokens - 1);
  cost.combine();
  cost.seconds = std::max(cost.memory, cost.latency) + cost.l2 + cost.launch;
  return cost;
}

// Where columns are listed: the weight, then tokens one after the other, brought and picked.
Cost listed_ring_cost(const DecodeShape& s, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Decode& c = levels.decode;
  // Columns that do not lie on 16 bytes come one by one.
  const double columns = count(p.cols) * (p.tokens == 1 || (p.token_major && p.aligned) ? 1 : 2);
  Cost cost;
  // Taller tiles have room for one slot of a warp only.
  const double share = c.listed_share * (s.row_warps > 1 ? c.listed_tall_share : 1);
  cost.memory = count(p.blocks * p.steps * kRecordBytes) / (levels.memory_bytes * share);
  cost.latency = count(p.tokens) * (c.listed_token_seconds + c.listed_column_seconds * columns +
                                    c.listed_quad_seconds * listed_quads(s, p, device));
  cost.launch = c.listed_ends_seconds;
  cost.combine();
  cost.seconds = cost.memory + cost.latency + cost.launch;  // one waits for the other
  return cost;
}

}  // namespace

// The weight at the rate of memory, and what the overlapping of kernels cannot hide: activations
// staged and sums passed on, which grow with the tokens, in every round of thread blocks;
// activations out of L2; barriers of a cluster.
Cost decode_cost(const DecodeShape& s, const ProductInfo& p, const DeviceInfo& device) {
  if (decode::is_ring(s))
    return p.in_order ? ring_cost(s, p, device) : listed_ring_cost(s, p, device);
  const Constants& levels = constants_of(device);
  const Constants::Decode& c = levels.decode;
  const double token_tiles = count(ceil_div(p.tokens, s.tokens));
  const std::int64_t row_tiles = ceil_div(p.blocks, s.row_warps);
  const double blocks = count(row_tiles * s.cluster) * token_tiles;
  const int residents = decode_residents(s.tokens);
  const double rounds =
      std::max(1.0, std::ceil(blocks / count(device.multiprocessors * residents)));
  // Clusters find less room. The thread blocks of a last round that is hardly filled have memory
  // for themselves.
  const double room = count(resident_blocks(device.multiprocessors, residents, s.cluster));
  const double fill = std::ceil(blocks / room) * room / blocks;
  const double unfilled = blocks > room ? 1 + c.last_round * (fill - 1) : 1;
  const double chunks =
      std::ceil(count(ceil_div(p.steps, s.slices())) / count(std::max(1, s.chunk_steps)));
  const double columns = count(p.regular ? p.steps * kStepQuads * p.group : p.cols * s.cluster);
  const double staging =
      (p.token_major ? 1 : c.feature_staging) * (p.aligned ? 1 : c.loose_staging);
  const double reading = 1 + c.vector_memory * (p.block_vectors - 1);
  Cost cost;
  cost.memory = unfilled * reading * count(p.blocks * p.steps * kRecordBytes) * token_tiles /
                (levels.memory_bytes * c.memory_share);
  cost.l2 =
      staging * count(row_tiles) * columns * count(p.tokens) * 2 / (levels.l2_bytes * c.l2_share);
  // Every thread block stages the columns of its slices, or their first chunk, before it
  // multiplies.
  const double staged = c.column_seconds * columns / s.cluster / chunks * (s.tokens / 8.0) *
                        (p.tokens == 1 ? c.single_staging : 1);
  // Every further vector of a block reads its activations again; tiles of 64 tokens have too many
  // sums for a step to overlap the next one.
  const double steps = count(ceil_div(p.steps, s.slices()));
  const double again = c.vector_panel_seconds * s.panels() * (p.block_vectors - 1) +
                       c.wide_panel_seconds * std::max(0, s.panels() - 4);
  cost.launch = c.ends_seconds + steps * again +
                rounds * (c.token_seconds * s.tokens + staging * staged) +
                c.barrier_seconds * (rounds > 1 ? token_tiles : 1) * std::log2(s.cluster) +
                c.chunk_seconds * std::max(0.0, chunks - 1);
  cost.combine();
  cost.seconds = cost.memory + cost.l2 + cost.launch;  // one waits for the other
  return cost;
}

}  // namespace coppice::cuda::model
