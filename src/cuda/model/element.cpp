// Element-wise, vector-wise and block-wise weights of few tokens: look-ups and fragments.
#include <algorithm>
#include <cmath>

#include "cuda/element/held_config.h"
#include "cuda/element/quad_ring_plan.h"
#include "cuda/model/model.h"
#include "cuda/model/tiles.h"

namespace coppice::cuda::model {
namespace {

double count(auto value) { return static_cast<double>(value); }

double weight_bytes(const ElementLayout& l) { return count(value_bytes(l) + choice_bytes(l)); }

// A weight that stays in L2 comes from there for all tiles of tokens but the first.
double weight_seconds(const ElementLayout& l, double tiles, double memory_bytes, double l2_bytes,
                      const DeviceInfo& device) {
  const double bytes = weight_bytes(l);
  const double again = bytes < 0.6 * count(device.l2_bytes) ? l2_bytes : memory_bytes;
  return bytes / memory_bytes + (tiles - 1) * bytes / again;
}

// Of a value of a lane and all tokens of a tile. Four tokens of 16 bits are looked up as they are,
// fewer as floats.
double value_clocks(const Constants::Lookup& c, const ElementInfo& e, int tile_tokens) {
  const bool list = e.layout.form == ChoiceForm::list;
  if (!e.staged) return c.slow_clocks * tile_tokens;
  if (e.layout.element_bytes == 2 && tile_tokens == 4)
    return 4 * (!list ? c.half_clocks : e.layout.run < 8 ? c.half_list_clocks : c.half_run_clocks);
  return list ? c.list_clocks + c.list_token_clocks * tile_tokens
              : c.value_clocks + c.value_token_clocks * tile_tokens;
}

// Of 16 rows x 32 columns and all tokens of a tile.
double part_clocks(const Constants::Fragments& c, const FragmentForm& form, int tile_tokens) {
  const double octets = tile_tokens / 8.0;
  return form.form == ChoiceForm::mask ? c.mask_clocks + c.mask_token_clocks * octets
                                       : c.step_clocks + c.step_token_clocks * octets;
}

// Fragments that gather activations: a pass over the weight for every tile of tokens, in so many
// rounds of thread blocks.
Cost list_cost(int tile_tokens, double rounds, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Fragments& c = levels.fragments;
  const ElementLayout& l = p.element.layout;
  const double passes = count(ceil_div(p.tokens, tile_tokens)) / levels.clock_hz;
  const double values = count(value_bytes(l)) / l.element_bytes / device.multiprocessors;
  Cost cost;
  cost.launch = passes * (c.list_clocks + c.list_token_clocks * tile_tokens);
  cost.shared = passes * values * (c.list_value_clocks + c.list_value_token_clocks * tile_tokens);
  cost.latency = rounds * count(l.pieces) * c.list_latency_clocks / levels.clock_hz;
  cost.combine();
  return cost;
}

}  // namespace

// The weight from memory; a few instructions for every value of a lane and more for each of the
// tile's tokens; activations into the shared memory of every thread block.
Cost lookup_cost(int tile_tokens, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Lookup& c = levels.lookup;
  const ElementInfo& e = p.element;
  const double tiles = count(ceil_div(p.tokens, tile_tokens));
  const double schedulers = 4.0 * device.multiprocessors * levels.clock_hz;
  const double warp_values = tiles * count(e.layout.units()) * 2 * e.layout.entries;
  const double value = value_clocks(c, e, tile_tokens);
  const double staging =
      p.token_major || p.tokens == 1 ? 1 : c.feature_staging * (p.aligned ? 1 : c.loose_staging);
  const double columns =
      e.staged
          ? count(e.lookup_split.pass_columns) *
                count(ceil_div(e.lookup_split.rank_chunks, std::max(1, e.lookup_split.pass_chunks)))
          : count(p.cols);
  const double blocks = count(e.lookup_split.tiles);
  const double rounds =
      std::max(1.0, tiles * blocks * e.lookup_split.ranks / device.multiprocessors);
  Cost cost;
  cost.memory = weight_seconds(e.layout, tiles, levels.memory_bytes * c.memory_share,
                               levels.l2_bytes * c.l2_share, device);
  cost.cores = warp_values * value / schedulers;
  cost.l2 = tiles * blocks * count(p.cols) * tile_tokens * e.layout.element_bytes /
            (levels.l2_bytes * c.l2_share);
  cost.launch = c.ends_seconds + c.rank_seconds * std::log2(e.lookup_split.ranks) +
                staging * c.column_seconds * columns * tile_tokens * std::ceil(rounds);
  cost.combine();
  return cost;
}

// The weight from memory; for 16 rows x 32 columns of a step the expansion and products of 8
// tokens, on the schedulers of the multiprocessors.
Cost fragments_cost(int tile_tokens, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Fragments& c = levels.fragments;
  const ElementInfo& e = p.element;
  const auto tile = std::ranges::find(kFragmentTiles, tile_tokens) - kFragmentTiles.begin();
  const FragmentSplit& split = e.fragment_splits[static_cast<std::size_t>(tile)];
  const FragmentForm& form = kFragmentForms[static_cast<std::size_t>(std::max(0, e.fragment_form))];
  const double tiles = count(ceil_div(p.tokens, tile_tokens));
  const double blocks = count(ceil_div(e.layout.units(), split.block_units())) * split.ranks;
  const double at_once = count(device.multiprocessors * fragment_residents(tile_tokens));
  const double rounds = std::max(1.0, std::ceil(tiles * blocks / at_once));
  if (form.gathers()) return list_cost(tile_tokens, rounds, p, device);
  // Of a thread block: its units, 32 dense columns at a time.
  const double parts = count(split.rank_steps) * count(form.step_columns()) / 32;
  const bool as_they_lie = p.token_major || p.tokens == 1;
  const double part = part_clocks(c, form, tile_tokens) *
                      (as_they_lie ? 1 : c.feature_steps * (p.aligned ? 1 : c.loose_steps));
  const double residents = std::min(count(fragment_residents(tile_tokens)),
                                    std::max(1.0, tiles * blocks / device.multiprocessors));
  const double columns = count(e.layout.groups * e.layout.group);
  Cost cost;
  cost.memory = weight_seconds(e.layout, tiles, levels.memory_bytes * c.memory_share,
                               levels.l2_bytes * c.l2_share, device);
  cost.cores = rounds * residents * parts * part * split.block_units() / 4 / levels.clock_hz;
  const double more = tile_tokens <= 8 ? 0 : tile_tokens == 16 ? 1 : 0.5;
  const double latency = form.form == ChoiceForm::mask
                             ? c.mask_latency_clocks * (1 + c.mask_octet_latency * more)
                             : c.step_latency_clocks;
  cost.latency = rounds * parts * latency / levels.clock_hz;
  cost.l2 =
      tiles * blocks / split.ranks * columns * tile_tokens * 2 / (levels.l2_bytes * c.l2_share);
  cost.launch = c.ends_seconds + c.rank_seconds * std::log2(split.ranks) + c.round_seconds * rounds;
  cost.combine();
  return cost;
}

// The weight from memory; a warp's way through its units one after the other; activations once for
// every pass.
Cost held_cost(int tile_tokens, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Held& c = levels.held;
  const ElementInfo& e = p.element;
  const HeldConfig config = held_config(std::max(0, e.fragment_form), tile_tokens);
  const ElementSplit split =
      split_held(config, e.layout, device.multiprocessors, device.shared_bytes);
  const double tiles = count(ceil_div(p.tokens, tile_tokens));
  const double blocks = tiles * count(split.tiles) * split.ranks;
  const double rounds = std::max(1.0, std::ceil(blocks / device.multiprocessors));
  const double passes = count(held_passes(split));
  const double units = passes * count(ceil_div(split.tile_parts, split.row_warps));
  const double part = (config.form.form == ChoiceForm::mask ? c.mask_clocks : c.part_clocks) +
                      c.token_clocks * config.tiles;
  Cost cost;
  cost.memory = weight_seconds(e.layout, tiles, levels.memory_bytes * c.memory_share,
                               levels.l2_bytes, device);
  cost.latency = rounds * units * count(config.slice_columns()) / 32 * part / levels.clock_hz;
  cost.launch = c.ends_seconds + c.token_seconds * config.tiles +
                (config.form.group == 8 ? c.pass_seconds : c.wide_pass_seconds) * (passes - 1);
  cost.combine();
  return cost;
}

namespace {

double quad_seconds(const Constants& levels, double clocks) { return clocks / levels.clock_hz; }

// Of the kernel that keeps weights in registers, one thread block after the other.
double register_quad_seconds(const QuadForm& form, const FragmentSplit& split, double tiles,
                             int tile_tokens, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Quads& c = levels.quads;
  const double blocks =
      tiles * count(ceil_div(p.element.layout.units(), split.warps)) * split.ranks;
  const double rounds = std::max(1.0, std::ceil(blocks / device.multiprocessors));
  const double steps = count(split.rank_steps) * form.step_columns() / kBlockSlots;
  const double block = c.block_clocks + c.block_token_clocks * tile_tokens * (split.warps / 4);
  return quad_seconds(levels, rounds * steps * block) + c.round_seconds * (rounds - 1) +
         c.rank_seconds * std::log2(split.ranks);
}

}  // namespace

// The weight from memory; expansion and products, of which a warp does one after the other;
// activations are put in order before, and come through L2 for every thread block.
Cost quads_cost(int tile_tokens, const ProductInfo& p, const DeviceInfo& device) {
  const Constants& levels = constants_of(device);
  const Constants::Quads& c = levels.quads;
  const ElementLayout& l = p.element.layout;
  const QuadForm& form = kQuadForms[static_cast<std::size_t>(std::max(0, p.element.quad_form))];
  const auto token_tiles = static_cast<int>(ceil_div(p.tokens, tile_tokens));
  const double tiles = count(token_tiles), all_blocks = count(quad_blocks(form, l));
  Cost cost;
  cost.memory = weight_seconds(l, tiles, levels.memory_bytes * c.memory_share,
                               levels.l2_bytes * c.l2_share, device);
  double row_tiles = 0;
  if (quad_ring_tile(tile_tokens) < 0) {
    const auto tile = static_cast<std::size_t>(quad_register_tile(tile_tokens));
    const FragmentSplit& split = p.element.quad_splits[tile];
    cost.latency = register_quad_seconds(form, split, tiles, tile_tokens, p, device);
    row_tiles = count(ceil_div(l.units(), split.warps));
  } else {
    const QuadSplit split = split_quad_rings(l, tile_tokens, token_tiles, device.multiprocessors);
    cost.latency = quad_seconds(
        levels,
        quad_split_clocks(
            form, split, l.units(), tile_tokens, token_tiles, device.multiprocessors,
            {c.ring_block_clocks, c.ring_token_clocks, c.ring_rank_clocks, c.ring_round_clocks}));
    row_tiles = count(ceil_div(l.units(), split.units));
  }
  cost.l2 = tiles * (row_tiles * all_blocks * tile_tokens * 128 + weight_bytes(l)) /
            (levels.l2_bytes * c.l2_share);
  cost.launch = c.ends_seconds + tiles * all_blocks * tile_tokens * 128 * c.order_seconds;
  cost.combine();
  return cost;
}

}  // namespace coppice::cuda::model
