// How products of fragments with activations in registers are divided.
#include "core/rounding.h"
#include "cuda/element/held_config.h"
#include "cuda/element/resident_blocks.h"

namespace coppice::cuda {
namespace {

constexpr int kMostRounds = 8;  // of thread blocks: many rows need room for their sums

// One thread block on every multiprocessor, as for look-ups (element_split.cpp).
void divide_units(int units, int rounds, int multiprocessors, ElementSplit& split) {
  const int at_once = resident_blocks(multiprocessors, 1, split.ranks) / split.ranks;
  split.part_rows = kUnitRows;
  split.tiles = units < at_once * 3 / 4 ? units : rounds * at_once;
  split.tile_parts = static_cast<int>(ceil_div(units, split.tiles));
  split.larger_tiles = units - split.tiles * (split.tile_parts - 1);
}

// Warps divide the slices of a rank, in several passes if need be; where there are few, rows.
void divide_slices(const HeldConfig& config, int slices, ElementSplit& split) {
  const int sums = static_cast<int>(ceil_div(slices, config.sum_slices()));
  split.rank_chunks = split.ranks == 1
                          ? slices
                          : static_cast<int>(ceil_div(sums, split.ranks)) * config.sum_slices();
  split.chunk_warps = 1;
  while (split.chunk_warps < kHeldWarps && split.chunk_warps < split.rank_chunks)
    split.chunk_warps *= 2;
  split.row_warps = kHeldWarps / split.chunk_warps;
  split.warp_share = 256 / split.chunk_warps;
  split.warp_chunks = config.slice_slots();
  split.rank_chunks *= config.slice_slots();
  split.pass_chunks = split.chunk_warps * split.warp_chunks;
}

}  // namespace

ElementSplit split_held(const HeldConfig& config, const ElementLayout& layout, int multiprocessors,
                        int shared_bytes) {
  ElementSplit split;
  split.shared_bytes = shared_bytes;
  const auto slices = static_cast<int>(ceil_div(held_slots(config, layout), config.slice_slots()));
  split.ranks = slices > config.sum_slices() ? 2 : 1;
  divide_slices(config, slices, split);
  for (int rounds = 1; rounds <= kMostRounds; ++rounds) {
    divide_units(layout.units(), rounds, multiprocessors, split);
    if (held_stages(config, split) > 0) break;
  }
  return split;
}

}  // namespace coppice::cuda
