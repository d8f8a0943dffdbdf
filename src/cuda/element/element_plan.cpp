#include "cuda/element/element_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "coppice/error.h"
#include "core/rounding.h"
#include "cuda/element/pass_limit.h"
#include "cuda/pack_plan.h"

namespace coppice::cuda {
namespace {

constexpr std::int64_t kMaxCols = 65536;  // runs have 16 bits
constexpr int kMaxRun = 32;
constexpr int kListBits = 256;       // of a run's values in all rows of a vector, at least
constexpr int kMaxIndexBits = 6;     // of the look-up kernels
constexpr int kMaxChunkCols = 4096;  // their chunks may need so many columns

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

}  // namespace coppice::cuda
