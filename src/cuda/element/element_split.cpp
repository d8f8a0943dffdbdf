// How products of element-wise, vector-wise and block-wise weights are divided among thread blocks.
#include <algorithm>
#include <limits>

#include "core/rounding.h"
#include "cuda/element/element_plan.h"
#include "cuda/element/fragment_config.h"
#include "cuda/element/pass_limit.h"

namespace coppice::cuda {
namespace {

constexpr int kWarps = 8;

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

// As many chunks in a pass as fit.
void divide_passes(const ElementPlan& plan, ElementSplit& split) {
  split.pass_chunks = split.rank_chunks;
  split.pass_columns = most_columns(plan, split);
  while (split.pass_chunks > 1 && split.pass_columns > pass_limit(plan.layout)) {
    split.pass_chunks = (split.pass_chunks + 1) / 2;
    split.pass_columns = most_columns(plan, split);
  }
}

// Not more rows in a thread block than leave every multiprocessor one. 4-byte weights are read by
// half units, each by a warp of its own where there are warps enough, and multiprocessors for the
// larger thread blocks (clusters do not use all of them).
void divide_rows(const ElementPlan& plan, int multiprocessors, int resident, ElementSplit& split) {
  const int units = plan.layout.units();
  const int warps = kWarps / split.chunk_warps;
  const auto rows_of = [&](int parts) {
    return static_cast<int>(std::clamp<std::int64_t>(
        std::int64_t{units} * split.ranks / multiprocessors, 1, std::max(1, warps / parts)));
  };
  const int parts = plan.layout.element_bytes == 4 ? std::min(2, warps) : 1;
  int together = rows_of(parts);
  split.row_warps = together * parts;
  const std::int64_t all_warps =
      std::int64_t{units} * split.ranks * split.row_warps * split.chunk_warps;
  if (split.ranks > 1 && split.row_warps > rows_of(1) &&
      all_warps > std::int64_t{multiprocessors} * resident * kWarps * 4 / 5)
    split.row_warps = together = rows_of(1);
  const std::int64_t round = std::int64_t{multiprocessors} * resident;
  split.units = static_cast<int>(
      std::clamp<std::int64_t>(ceil_div(std::int64_t{units} * split.ranks, round), 1, 8));
  // Warps of their own rows have them.
  split.units = static_cast<int>(std::min<std::int64_t>(8, round_up(split.units, together)));
}

// Thread blocks that run at the same time: clusters do not use every multiprocessor (H200).
int resident_blocks(int multiprocessors, int residents, int ranks) {
  const int share = ranks <= 2 ? 100 : ranks == 4 ? 90 : 85;
  return multiprocessors * residents * share / 100 / ranks * ranks;
}

// The division with the least work one after the other: rounds of thread blocks, the steps of their
// units, and what a round costs by itself. Of equals the one with larger thread blocks.
FragmentSplit best_split(int units, int steps, int tokens, const FragmentDevice& device,
                         bool wgmma) {
  constexpr int kRound = 12;  // as a step of so many units
  const int residents = fragment_residents(tokens);
  const int most = wgmma ? kWgmmaWarps / residents : kFragmentWarps;
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
    const bool wgmma = device.wgmma && !form.gathers() && tokens >= kWgmmaTokens;
    FragmentSplit split = best_split(plan.layout.units(), steps, tokens, device, wgmma);
    split.columns = static_cast<int>(columns);
    if (std::max(needed_bytes(form, tokens, split, false),
                 needed_bytes(form, tokens, split, true)) > device.shared_bytes)
      break;
    splits.push_back(split);
  }
  return splits;
}

// One round of thread blocks, all of them at work until the end: then memory is what they wait for.
// Where rows are few, the chunks are divided among the thread blocks of a cluster.
ElementSplit split_element(const ElementPlan& plan, int multiprocessors, int resident,
                           bool clusters) {
  ElementSplit split;
  const int units = plan.layout.units(), chunks = static_cast<int>(std::ssize(plan.chunks));
  if (chunks == 0) return split;
  const auto divide = [&] {
    split.rank_chunks = static_cast<int>(ceil_div(chunks, split.ranks));
    split.pass_chunks = split.rank_chunks;
    if (plan.staged) divide_passes(plan, split);
  };
  divide();
  // More ranks where thread blocks are few, and rather than several passes.
  while (clusters && split.ranks < 8 && chunks >= 4 * split.ranks &&
         (2 * units * split.ranks < 3 * multiprocessors || split.pass_chunks < split.rank_chunks)) {
    split.ranks *= 2;
    divide();
  }
  const int each = static_cast<int>(ceil_div(split.pass_chunks, kWarps));
  split.chunk_warps = static_cast<int>(ceil_div(split.pass_chunks, each));
  divide_rows(plan, multiprocessors, resident, split);
  return split;
}

}  // namespace coppice::cuda
