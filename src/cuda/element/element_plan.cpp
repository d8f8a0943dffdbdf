#include "cuda/element/element_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "coppice/error.h"
#include "cuda/element/fragment_config.h"
#include "cuda/pack_plan.h"

namespace coppice::cuda {
namespace {

constexpr std::int64_t kMaxCols = 65536;  // runs have 16 bits
constexpr int kMaxRun = 32;
constexpr int kListBits = 256;       // of a run's values in all rows of a vector, at least
constexpr int kMaxIndexBits = 6;     // of the look-up kernels
constexpr int kMaxChunkCols = 4096;  // their chunks may need so many columns
constexpr int kWarps = 8;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return ceil_div(value, unit) * unit;
}

// Columns whose activations, of four tokens, take 64 KB; and a little, for the ends of a chunk.
int pass_limit(const ElementLayout& l) { return (l.element_bytes == 4 ? 4096 : 8192) + 64; }

int power_of_two_in(int number) {
  int run = 1;
  while (run < kMaxRun && number % (2 * run) == 0) run *= 2;
  return run;
}

bool is_regular(const Grid& grid) {
  const Pattern& p = grid.pattern();
  std::int64_t col = 0;
  for (const ColumnGroup& group : grid.groups()) {
    if (group.col != col || group.block_cols != p.block_cols) return false;
    col += std::int64_t{p.group} * p.block_cols;
  }
  return true;
}

// `run`: of a list; 1 otherwise.
std::vector<ElementGroup> group_table(const Grid& grid, int run) {
  std::vector<ElementGroup> table;
  table.reserve(grid.groups().size());
  std::int64_t slot = 0;
  for (const ColumnGroup& g : grid.groups()) {
    table.push_back({static_cast<std::int32_t>(g.col), g.blocks, g.kept_blocks, g.block_cols,
                     static_cast<std::int32_t>(g.value), static_cast<std::int32_t>(g.column_bit),
                     static_cast<std::int32_t>(slot), 0});
    slot += g.kept_blocks * round_up(g.block_cols, run);
  }
  return table;
}

std::vector<std::int32_t> row_vectors(const Grid& grid) {
  bool regular = true;
  std::vector<std::int32_t> of_row(static_cast<std::size_t>(grid.rows()));
  for (std::size_t v = 0; v < grid.vectors().size(); ++v) {
    const RowVector& vector = grid.vectors()[v];
    regular = regular && vector.row == static_cast<std::int64_t>(v) * grid.pattern().vec_rows;
    std::fill_n(of_row.begin() + vector.row, vector.rows, static_cast<std::int32_t>(v));
  }
  if (regular) of_row.clear();
  return of_row;
}

// The masks that the look-up kernels know.
bool has_mask_kernel(int kept, int group) {
  return (group == 8 && kept == 4) || (group == 16 && kept == 8) ||
         (group == 32 && (kept == 8 || kept == 16));
}

void size_groups(ElementPlan& plan) {
  ElementLayout& l = plan.layout;
  const auto lane_groups = ceil_div(l.groups, kElementLanes);
  l.entries = static_cast<std::int32_t>(lane_groups * l.group_entries());
  l.words = static_cast<std::int32_t>(ceil_div(lane_groups * l.choice_bits, 32));
  const bool known =
      l.form == ChoiceForm::mask ? has_mask_kernel(l.kept, l.group) : l.index_bits <= kMaxIndexBits;
  const int chunk_groups =
      kChunkEntries % l.kept == 0 ? kChunkEntries / l.kept : (kChunkEntries - 1) / l.kept + 2;
  plan.staged =
      l.block_cols == 1 && known && kElementLanes * chunk_groups * l.group <= kMaxChunkCols;
}

void size_list(const Grid& grid, ElementPlan& plan) {
  ElementLayout& l = plan.layout;
  std::int64_t slots = 0;
  for (const ColumnGroup& g : grid.groups()) slots += g.kept_blocks * round_up(g.block_cols, l.run);
  const std::int64_t step = kElementLanes * l.per_piece();
  l.slots = static_cast<std::int32_t>(slots);
  l.entries = static_cast<std::int32_t>(ceil_div(slots, step) * l.per_piece());
  l.words = static_cast<std::int32_t>(ceil_div(slots, step) * step / l.run);
  plan.staged = true;
}

// First column of a slot's group, and the end of it, as the kernels see columns.
ChunkColumns list_columns(const Grid& grid, const ElementPlan& plan, std::int64_t first,
                          std::int64_t last) {
  const auto& groups = grid.groups();
  const auto group_of = [&](std::int64_t slot) {
    if (plan.groups.empty()) return static_cast<std::size_t>(slot / plan.layout.group_entries());
    std::size_t j = 0;
    while (j + 1 < groups.size() && plan.groups[j + 1].slot <= slot) ++j;
    return j;
  };
  const ColumnGroup& a = groups[group_of(first)];
  const ColumnGroup& b = groups[group_of(last)];
  return {static_cast<std::int32_t>(a.col), static_cast<std::int32_t>(b.col + b.cols)};
}

// Padding runs of the last chunk repeat the last run, which lies in it: a chunk has a real slot.
void place_chunks(const Grid& grid, ElementPlan& plan) {
  ElementLayout& l = plan.layout;
  l.pieces = static_cast<std::int32_t>(ceil_div(l.entries, l.per_piece()));
  const std::int64_t chunks = ceil_div(l.entries, kChunkEntries);
  for (std::int64_t c = 0; c < chunks; ++c) {
    ChunkColumns columns;
    if (l.in_groups()) {
      const std::int64_t entry = c * kChunkEntries, of = l.group_entries();
      columns.first = static_cast<std::int32_t>(entry / of * kElementLanes * l.group_cols());
      columns.last = static_cast<std::int32_t>(ceil_div(entry + kChunkEntries, of) * kElementLanes *
                                               l.group_cols());
    } else {
      const std::int64_t first = c * kChunkEntries * kElementLanes;
      const std::int64_t end =
          std::min<std::int64_t>(first + kChunkEntries * kElementLanes, l.slots);
      columns = list_columns(grid, plan, first, end - 1);
      columns.last += l.run;  // a run of a narrow block reads as far
    }
    plan.chunks.push_back(
        {columns.first / 8 * 8, static_cast<std::int32_t>(round_up(columns.last, 8))});
  }
}

void place_groups(const Grid& grid, ElementPlan& plan) {
  ElementLayout& l = plan.layout;
  const bool mask = grid.column_code().bitmask;
  l.form = mask ? ChoiceForm::mask : ChoiceForm::indices;
  l.run = 1;
  if (!is_regular(grid)) plan.groups = group_table(grid, l.run);
  if (l.rows == 0 || l.groups == 0) return;
  size_groups(plan);
  place_chunks(grid, plan);
}

// False if the columns of a chunk do not fit into shared memory: then nothing is left behind.
bool place_list(const Grid& grid, int run, ElementPlan& plan) {
  const ElementPlan before = plan;
  ElementLayout& l = plan.layout;
  l.form = ChoiceForm::list;
  l.run = run;
  if (!is_regular(grid)) plan.groups = group_table(grid, run);
  if (l.rows == 0 || l.groups == 0) return true;
  size_list(grid, plan);
  place_chunks(grid, plan);
  const bool fits = std::ranges::all_of(plan.chunks, [&](const ChunkColumns& chunk) {
    return chunk.last - chunk.first <= pass_limit(l);
  });
  if (!fits) plan = before;
  return fits;
}

}  // namespace

bool is_element_pattern(const Pattern& pattern) {
  return !pattern.is_dense() && !pattern.has_inner() && !pattern.is_two_four();
}

ElementPlan plan_element(const Grid& grid, Dtype dtype, bool permuted) {
  if (grid.cols() > kMaxCols)
    throw InvalidArgument(
        fmt::format("{} columns: the CUDA backend packs weights of up to {}; "
                    "split the weight by columns",
                    grid.cols(), kMaxCols));
  const Pattern& p = grid.pattern();
  ElementPlan plan;
  ElementLayout& l = plan.layout;
  l.element_bytes = dtype_bytes(dtype);
  l.rows = static_cast<std::int32_t>(grid.rows());
  l.cols = static_cast<std::int32_t>(grid.cols());
  l.vec_rows = p.vec_rows;
  l.vectors = static_cast<std::int32_t>(std::ssize(grid.vectors()));
  l.kept = p.kept;
  l.group = p.group;
  l.block_cols = p.block_cols;
  l.groups = static_cast<std::int32_t>(std::ssize(grid.groups()));
  const ChoiceCode code = grid.column_code();
  l.index_bits = code.bits;
  l.choice_bits = static_cast<std::int32_t>(code.size(p.kept, p.group));
  plan.row_vectors = row_vectors(grid);
  const int run = power_of_two_in(p.block_cols);
  const bool listed = p.vec_rows * run * 8 * l.element_bytes >= kListBits;
  if (!listed || !place_list(grid, run, plan)) place_groups(grid, plan);
  if (permuted || (l.in_groups() && !plan.groups.empty()))
    plan.sources = l.in_groups() ? l.groups * l.group_cols() : l.cols;
  return plan;
}

ElementPlaces ElementPlan::places() const {
  ElementPlaces at;
  const auto take = [&at](std::int64_t bytes) {
    const std::int64_t start = at.bytes;
    at.bytes = round_up(at.bytes + bytes, kPackedAlignment);
    return start;
  };
  at.values = take(value_bytes(layout));
  at.choices = take(choice_bytes(layout));
  at.chunks = take(std::ssize(chunks) * std::int64_t{sizeof(ChunkColumns)});
  at.groups = take(std::ssize(groups) * std::int64_t{sizeof(ElementGroup)});
  at.vectors = take(std::ssize(row_vectors) * std::int64_t{sizeof(std::int32_t)});
  at.sources = take(sources * std::int64_t{sizeof(std::int32_t)});
  return at;
}

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

// As many chunks in a pass as fit.
void divide_passes(const ElementPlan& plan, ElementSplit& split) {
  split.pass_chunks = split.rank_chunks;
  split.pass_columns = most_columns(plan, split);
  while (split.pass_chunks > 1 && split.pass_columns > pass_limit(plan.layout)) {
    split.pass_chunks = (split.pass_chunks + 1) / 2;
    split.pass_columns = most_columns(plan, split);
  }
}

}  // namespace

namespace {

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
  const bool shared = plan.row_vectors.empty() && plan.layout.vec_rows % kUnitRows == 0;
  const int number = fragment_form(plan.layout, shared);
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
  // Not more rows in a thread block than leave every multiprocessor one. 4-byte weights are read by
  // half units, each by a warp of its own where there are warps enough.
  const int parts = plan.layout.element_bytes == 4 ? 2 : 1, warps = kWarps / split.chunk_warps;
  const std::int64_t together = std::clamp<std::int64_t>(
      std::int64_t{units} * split.ranks / multiprocessors, 1, std::max(1, warps / parts));
  split.row_warps = static_cast<int>(std::min<std::int64_t>(warps, together * parts));
  const std::int64_t round = std::int64_t{multiprocessors} * resident;
  split.units = static_cast<int>(
      std::clamp<std::int64_t>(ceil_div(std::int64_t{units} * split.ranks, round), 1, 8));
  // Warps of their own rows have them.
  split.units = static_cast<int>(std::min<std::int64_t>(8, round_up(split.units, together)));
  return split;
}

}  // namespace coppice::cuda
