// How products of quads by rings are divided among thread blocks and their warps.
#include <algorithm>
#include <limits>

#include "core/rounding.h"
#include "cuda/element/quad_ring_plan.h"
#include "cuda/element/resident_blocks.h"

namespace coppice::cuda {
namespace {

// As few rows for a thread block as make one round, or fewest rounds.
int block_units(int units, int ranks, int token_tiles, int multiprocessors) {
  const int at_once = resident_blocks(multiprocessors, 1, ranks) / ranks;
  const auto rounds =
      ceil_div(std::int64_t{units} * token_tiles, std::int64_t{at_once} * kMostQuadWarps);
  const std::int64_t tiles = std::max<std::int64_t>(1, at_once * rounds / token_tiles);
  return static_cast<int>(std::clamp<std::int64_t>(ceil_div(units, tiles), 1, kMostQuadWarps));
}

// `alone`: warps have one slot each.
double split_clocks(const QuadForm& form, const QuadSplit& split, int units, int tokens,
                    int token_tiles, int multiprocessors, const QuadClocks& clocks, bool alone) {
  const auto blocks = ceil_div(units, split.units) * split.ranks * token_tiles;
  const auto rounds =
      static_cast<double>(ceil_div(blocks, resident_blocks(multiprocessors, 1, split.ranks)));
  const double part = split.part_slots * slot_blocks(form) * clocks.of(split.warps() / 4, tokens) *
                      (alone ? clocks.alone : 1);
  return rounds * (part + clocks.rank * (split.ranks - 1)) + (rounds - 1) * clocks.round;
}

}  // namespace

double quad_split_clocks(const QuadForm& form, const QuadSplit& split, int units, int tokens,
                         int token_tiles, int multiprocessors, const QuadClocks& clocks) {
  return split_clocks(form, split, units, tokens, token_tiles, multiprocessors, clocks,
                      quad_ring_places(form, tokens, split).slots == 1);
}

QuadSplit split_quad_rings(const ElementLayout& layout, int tokens, int token_tiles,
                           int multiprocessors) {
  const QuadForm& form = kQuadForms[static_cast<std::size_t>(quad_form(layout))];
  const int slots = quad_slots(layout);
  QuadSplit best;
  best.part_slots = slots;
  double least = std::numeric_limits<double>::max();
  // Ranks where thread blocks of all warps do not fill a round: they take longer than is modelled
  // (H200, 512 tokens of 28672 x 8192, seven rounds of two ranks: 434 us, 390 without).
  const bool few =
      ceil_div(layout.units(), kMostQuadWarps) * std::int64_t{token_tiles} < multiprocessors;
  for (int ranks = 1; ranks <= (few ? 8 : 1); ++ranks)
    for (int groups = 1; groups <= 4; groups *= 2) {
      QuadSplit split;
      split.units = block_units(layout.units(), ranks, token_tiles, multiprocessors);
      split.groups = groups;
      split.ranks = ranks;
      if (split.warps() > kMostQuadWarps || ranks * groups > std::max(1, slots)) continue;
      split.part_slots = static_cast<int>(ceil_div(slots, ranks * groups));
      const auto cost_of = [&](bool alone) {
        return split_clocks(form, split, layout.units(), tokens, token_tiles, multiprocessors,
                            QuadClocks{}, alone);
      };
      if (cost_of(false) >= least) continue;  // at least so much: places take longer to find
      const int fitting = quad_ring_places(form, tokens, split).slots;
      if (fitting == 0) continue;
      const double cost = cost_of(fitting == 1);
      if (cost >= least) continue;
      least = cost;
      best = split;
    }
  return best;
}

}  // namespace coppice::cuda
