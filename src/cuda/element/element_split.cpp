// How products of element-wise, vector-wise and block-wise weights are divided among thread blocks.
#include <algorithm>
#include <limits>

#include "core/rounding.h"
#include "cuda/element/element_plan.h"
#include "cuda/element/fragment_config.h"
#include "cuda/element/pass_limit.h"
#include "cuda/element/quad_form.h"
#include "cuda/element/resident_blocks.h"

namespace coppice::cuda {
namespace {

// Columns of a pass, [first of its first chunk, last of its last), at most.
int most_columns(const ElementPlan& plan, const ElementSplit& split) {
  const auto chunks = static_cast<int>(std::ssize(plan.chunks));
  int most = 0;
  for (int rank = 0; rank < chunks; rank += split.rank_chunks) {
    const int end = std::min(chunks, rank + split.rank_chunks);
    for (int c = rank; c < end; c += split.pass_chunks)
      most = std::max(
          most,
          plan.chunks[static_cast<std::size_t>(std::min(end, c + split.pass_chunks) - 1)].last -
              plan.chunks[static_cast<std::size_t>(c)].first);
  }
  return most;
}

// Values of 4 bytes have half as many warps (lookup_warps), whose slots leave room for twice the
// columns where there is much shared memory.
int most_pass_columns(const ElementLayout& l, int shared_bytes) {
  return l.element_bytes == 4 && shared_bytes >= 200 * 1024 ? 2 * pass_limit(l) : pass_limit(l);
}

// As many chunks in a pass as fit.
void divide_passes(const ElementPlan& plan, ElementSplit& split) {
  split.pass_chunks = split.rank_chunks;
  split.pass_columns = most_columns(plan, split);
  while (split.pass_chunks > 1 &&
         split.pass_columns > most_pass_columns(plan.layout, split.shared_bytes)) {
    split.pass_chunks = (split.pass_chunks + 1) / 2;
    split.pass_columns = most_columns(plan, split);
  }
}

// Warps of a thread block, and its rows: each warp has at least one slot for weights beside 64 KB
// of activations and the sums of the rows.
int most_warps(const ElementPlan& plan, const ElementSplit& split) {
  const int fitting = split.shared_bytes >= 200 * 1024   ? 16
                      : split.shared_bytes >= 120 * 1024 ? 8
                                                         : 4;
  return plan.staged ? std::min(fitting, lookup_warps(split.part_rows, plan.layout.element_bytes))
                     : fitting;
}
int most_rows(int shared_bytes) {
  return shared_bytes >= 200 * 1024 ? 512 : shared_bytes >= 120 * 1024 ? 256 : 128;
}

// One thread block on every multiprocessor, all with the same number of rows but for one part, a
// few of them perhaps without any: then those of the next product find room for one on every
// multiprocessor, too. Where some have none, others get two of one product, and are late.
void divide_rows(const ElementPlan& plan, const LookupDevice& device, ElementSplit& split) {
  split.part_rows = lookup_rows(plan.layout, plan.row_vectors.empty());
  const int parts = plan.layout.units() * (kUnitRows / split.part_rows);
  const std::int64_t at_once =
      std::max(1, resident_blocks(device.multiprocessors, 1, split.ranks) / split.ranks);
  const std::int64_t rounds =
      ceil_div(std::int64_t{parts} * split.part_rows, at_once * most_rows(device.shared_bytes));
  const bool few = parts < at_once * 3 / 4;
  split.tiles = static_cast<int>(few ? parts : rounds * at_once);
  split.tile_parts = static_cast<int>(ceil_div(parts, split.tiles));
  split.larger_tiles = parts - split.tiles * (split.tile_parts - 1);
}

// The warps that have the least to do one after the other; of equals those with more rows of their
// own.
void divide_warps(int most, ElementSplit& split) {
  constexpr int kMostSums = 2048;  // of a token
  int least = std::numeric_limits<int>::max();
  for (int row_warps = most; row_warps >= 1; row_warps /= 2) {
    const int chunk_most = std::min(most / row_warps, std::max(1, kMostSums / split.rows()));
    const auto each = static_cast<int>(ceil_div(split.pass_chunks, chunk_most));
    const auto items = static_cast<int>(ceil_div(split.tile_parts, row_warps)) * each;
    if (row_warps > split.tile_parts || items >= least) continue;
    least = items;
    split.row_warps = row_warps;
    split.warp_chunks = each;
    split.chunk_warps = static_cast<int>(ceil_div(split.pass_chunks, each));
  }
  split.warp_share = static_cast<int>(ceil_div(256, split.chunk_warps));
}

// The division with the least work one after the other: rounds of thread blocks, the steps of their
// units, and what a round costs by itself. Of equals the one with larger thread blocks.
FragmentSplit best_split(int units, int steps, int most, int residents,
                         const FragmentDevice& device, bool wgmma) {
  constexpr int kRound = 12;  // as a step of so many units
  FragmentSplit best;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (int ranks = 1; ranks <= (device.clusters ? 8 : 1) && ranks <= steps; ranks *= 2)
    for (int warps = wgmma ? 8 : kFragmentWarps / 2; warps <= most; warps += wgmma ? 4 : 1) {
      FragmentSplit split;
      split.wgmma = wgmma;
      split.warps = warps;
      split.ranks = ranks;
      split.rank_steps = static_cast<int>(ceil_div(steps, ranks));
      const std::int64_t blocks = ceil_div(units, split.block_units()) * ranks;
      const std::int64_t rounds =
          ceil_div(blocks, resident_blocks(device.multiprocessors, residents, ranks));
      const std::int64_t cost =
          rounds * (split.rank_steps * split.block_units() + kRound) * (kWgmmaWarps + 1) - warps;
      if (cost >= least) continue;
      least = cost;
      best = split;
    }
  return best;
}

int needed_bytes(const FragmentForm& form, int tokens, const FragmentSplit& split, bool tall) {
  return split.wgmma ? wgmma_places(form, tokens, tall).bytes
                     : mma_places(form, tokens, split.columns, tall).bytes;
}

}  // namespace

std::vector<FragmentSplit> split_fragments(const ElementPlan& plan, const FragmentDevice& device) {
  const int number = fragment_form(plan.layout, plan.shares_vectors());
  if (number < 0 || plan.chunks.empty()) return {};
  const FragmentForm& form = kFragmentForms[static_cast<std::size_t>(number)];
  const auto steps = static_cast<int>(ceil_div(plan.layout.pieces, form.pieces()));
  std::int64_t columns = form.gathers() ? 0 : form.step_columns();
  if (form.gathers())
    for (const ChunkColumns& chunk : plan.chunks)
      columns = std::max(columns, round_up(chunk.last - chunk.first, 32));
  std::vector<FragmentSplit> splits;
  for (const int tokens : kFragmentTiles) {
    // What keeps at most two of four columns is faster as 2:4 (split_quads).
    const bool wgmma = device.wgmma && form.form == ChoiceForm::mask && tokens >= kWgmmaTokens;
    const int residents = fragment_residents(tokens);
    const int most = wgmma ? kWgmmaWarps / residents : kFragmentWarps;
    FragmentSplit split = best_split(plan.layout.units(), steps, most, residents, device, wgmma);
    split.columns = static_cast<int>(columns);
    if (std::max(needed_bytes(form, tokens, split, false),
                 needed_bytes(form, tokens, split, true)) > device.shared_bytes)
      break;
    splits.push_back(split);
  }
  return splits;
}

std::vector<FragmentSplit> split_quads(const ElementPlan& plan, const FragmentDevice& device) {
  const int number = quad_form(plan.layout);
  if (number < 0 || plan.chunks.empty() || !device.wgmma) return {};
  const int steps = quad_steps(kQuadForms[static_cast<std::size_t>(number)], plan.layout);
  std::vector<FragmentSplit> splits;
  for (const int tokens : kQuadTiles)
    splits.push_back(best_split(plan.layout.units(), steps, quad_warps(tokens), 1, device, true));
  return splits;
}

// Where rows are few, and rather than several passes, the chunks are divided among the thread
// blocks of a cluster.
ElementSplit split_element(const ElementPlan& plan, const LookupDevice& device) {
  ElementSplit split;
  split.shared_bytes = device.shared_bytes;
  const auto chunks = static_cast<int>(std::ssize(plan.chunks));
  const auto divide = [&] {
    divide_rows(plan, device, split);
    split.rank_chunks = static_cast<int>(ceil_div(chunks, split.ranks));
    split.pass_chunks = split.rank_chunks;
    if (plan.staged && chunks > 0) divide_passes(plan, split);
  };
  if (plan.layout.rows == 0) return split;
  divide();
  while (device.clusters && split.ranks < 8 && chunks >= 4 * split.ranks &&
         (2 * split.tiles * split.ranks <= device.multiprocessors ||
          split.pass_chunks < split.rank_chunks)) {
    split.ranks *= 2;
    divide();
  }
  if (chunks > 0) divide_warps(most_warps(plan, split), split);
  return split;
}

}  // namespace coppice::cuda
