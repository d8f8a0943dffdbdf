#include "cuda/host_pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "coppice/error.h"
#include "core/parallel_for.h"
#include "format/choice_code.h"

namespace coppice::cuda {
namespace {

constexpr std::int64_t kMaxCols = 65536;  // column lists have 16 bits an entry

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Every vector gets whole units (blocks, if vectors are that high).
void place_vectors(const Grid& grid, bool whole_blocks, PackPlan& plan) {
  // 2:4 has vectors of one row, but all of them share all columns.
  std::vector<RowVector> vectors(grid.vectors().begin(), grid.vectors().end());
  if (grid.pattern().is_two_four() && grid.rows() > 0) {
    vectors.clear();
    vectors.push_back({0, static_cast<std::int32_t>(grid.rows())});
  }
  for (std::size_t v = 0; v < vectors.size(); ++v) {
    const auto first_block = static_cast<std::int32_t>(plan.units.size() / kBlockUnits);
    const std::int32_t end = static_cast<std::int32_t>(vectors[v].row) + vectors[v].rows;
    for (auto row = static_cast<std::int32_t>(vectors[v].row); row < end; row += kUnitRows)
      plan.units.push_back({row, std::min(kUnitRows, end - row), static_cast<std::int32_t>(v), 0});
    if (!whole_blocks) continue;
    while (plan.units.size() % kBlockUnits != 0)
      plan.units.push_back({0, 0, static_cast<std::int32_t>(v), 0});
    const auto last_block = static_cast<std::int32_t>(plan.units.size() / kBlockUnits);
    for (std::size_t i = 0; i < kTileBlocks.size(); ++i)
      for (std::int32_t b = first_block; b < last_block; b += kTileBlocks[i])
        plan.tiles[i].push_back(
            {b, std::min(kTileBlocks[i], last_block - b), static_cast<std::int32_t>(v), 0});
  }
  while (plan.units.size() % kBlockUnits != 0)
    plan.units.push_back({0, 0, plan.units.back().vector, 0});
}

// How many vectors the blocks have at most, in equal parts: 1, 2 or 4.
int count_block_vectors(const std::vector<RowUnit>& units) {
  int vectors = 1;
  for (std::size_t u = 0; u + 3 < units.size(); u += kBlockUnits) {
    if (units[u].vector != units[u + 1].vector || units[u + 2].vector != units[u + 3].vector)
      return 4;
    if (units[u].vector != units[u + 2].vector) vectors = 2;
  }
  return vectors;
}

bool is_regular(const Grid& grid) {
  std::int64_t expected = 0;
  for (const ColumnGroup& group : grid.groups()) {
    if (group.col != expected) return false;
    expected += grid.pattern().group;
  }
  return true;
}

// One row's values and metadata, group by group: a group is a quad of columns alive.
class RowPacker {
 public:
  RowPacker(const SparseView& view, const PackPlan& plan, std::byte* records)
      : view_(view), steps_(plan.steps), records_(records) {
    choice_.resize(static_cast<std::size_t>(view.grid->kept()));
  }

  void pack(std::int64_t row, std::int64_t padded_row) {
    read_row_choice(view_, row, choice_);
    const std::byte* values = view_.values.data() + row * view_.grid->kept() * 2;
    std::byte* block = records_ + padded_row / kBlockRows * steps_ * kRecordBytes;
    const auto in_block = static_cast<int>(padded_row % kBlockRows);
    const auto groups = view_.grid->groups();
    for (std::size_t q = 0; q < groups.size(); ++q)
      pack_quad(groups[q], values, block + static_cast<std::int64_t>(q / kStepQuads) * kRecordBytes,
                in_block, static_cast<int>(q % kStepQuads));
  }

 private:
  void pack_quad(const ColumnGroup& group, const std::byte* values, std::byte* record, int row,
                 int quad) {
    int place[2] = {0, 1};
    int slot[2] = {0, 1};
    const std::int32_t* choice = choice_.data() + group.value;
    const auto base = static_cast<std::int32_t>(group.live_col);
    if (group.kept == 2) {
      place[0] = choice[0] - base;
      place[1] = choice[1] - base;
    } else if (group.kept == 1) {  // beside a place of padding: the last, or the one before it
      const int kept = choice[0] - base;
      place[0] = kept < 3 ? kept : 2;
      place[1] = 3;
      slot[0] = kept < 3 ? 0 : 1;
    }
    for (int i = 0; i < group.kept; ++i)
      std::memcpy(record + value_byte(row, 2 * quad + slot[i]), values + (group.value + i) * 2, 2);
    const MetadataPlace at = metadata_place(row, quad);
    std::byte* word = record + kValueBytes + at.word * 4;
    std::uint32_t bits;
    std::memcpy(&bits, word, 4);
    bits &= ~(0xFu << at.shift);
    bits |= pair_bits(place[0], place[1]) << at.shift;
    std::memcpy(word, &bits, 4);
  }

  const SparseView& view_;
  std::int64_t steps_;
  std::byte* records_;
  std::vector<std::int32_t> choice_;
};

// Metadata of padding: the first two of four, everywhere.
void clear_records(std::byte* records, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::memset(records + i * kRecordBytes, 0, kValueBytes);
    std::memset(records + i * kRecordBytes + kValueBytes, 0x44, kMetadataBytes);
  }
}

// A vector's columns alive in original order of columns, quads padded with a column of their own.
void pack_columns(const SparseView& view, std::int64_t vector, std::span<std::int32_t> live,
                  std::int64_t places, std::uint16_t* out) {
  read_live_columns(view, vector, live);
  auto original = [&](std::int32_t col) {
    return static_cast<std::uint16_t>(view.input_permutation.empty()
                                          ? static_cast<std::uint32_t>(col)
                                          : view.input_permutation[static_cast<std::size_t>(col)]);
  };
  std::uint16_t* end = out + places;
  std::uint16_t last = 0;
  for (const ColumnGroup& group : view.grid->groups()) {
    for (int i = 0; i < 4; ++i) {
      const std::int64_t at = group.live_col + std::min(i, group.kept_cols - 1);
      last = original(live[static_cast<std::size_t>(at)]);
      *out++ = last;
    }
  }
  std::fill(out, end, last);
}

// Quad q is columns 4q to 4q + 3, the last possibly fewer: nothing to gather.
bool all_in_order(const SparseView& view) {
  return view.grid->pattern().is_two_four() && view.input_permutation.empty() &&
         is_regular(*view.grid);
}

}  // namespace

PackPlan plan_pack(const Grid& grid) {
  const Pattern& pattern = grid.pattern();
  if (!pattern.fits_sparse_tensor_cores())
    throw InvalidArgument(fmt::format(
        "{} does not fit sparse tensor cores: they multiply by 2:4, or by 2 of 4 kept columns "
        "(V:2:M); prune to such a pattern, or multiply on the CPU",
        pattern.to_string()));
  if (grid.cols() > kMaxCols)
    throw InvalidArgument(
        fmt::format("{} columns: the CUDA backend packs weights of up to {}; "
                    "split the weight by columns",
                    grid.cols(), kMaxCols));
  PackPlan plan;
  const bool whole_blocks = pattern.is_two_four() || pattern.vec_rows >= kBlockRows;
  plan.steps = ceil_div(std::ssize(grid.groups()), kStepQuads);
  place_vectors(grid, whole_blocks, plan);
  plan.blocks = std::ssize(plan.units) / kBlockUnits;
  plan.block_vectors = count_block_vectors(plan.units);
  plan.regular = is_regular(grid);
  if (pattern.is_two_four())
    plan.vector_blocks = static_cast<int>(plan.blocks);
  else if (whole_blocks)
    plan.vector_blocks = static_cast<int>(ceil_div(pattern.vec_rows, kBlockRows));
  return plan;
}

HostPack pack_on_host(const SparseView& weight, int threads) {
  if (weight.dtype != Dtype::f16 && weight.dtype != Dtype::bf16)
    throw InvalidArgument(
        fmt::format("a weight of {}: the CUDA backend multiplies by F16 and BF16; convert it first",
                    dtype_name(weight.dtype)));
  const Grid& grid = *weight.grid;
  HostPack pack;
  pack.plan = plan_pack(grid);
  const std::int64_t steps = pack.plan.steps, places = steps * kStepCols;
  pack.records.resize(static_cast<std::size_t>(pack.plan.blocks * steps * kRecordBytes));
  parallel_for(pack.plan.blocks, threads, [&](std::int64_t block) {
    clear_records(pack.records.data() + block * steps * kRecordBytes, steps);
    RowPacker packer(weight, pack.plan, pack.records.data());
    for (std::int64_t u = block * kBlockUnits; u < (block + 1) * kBlockUnits; ++u) {
      const RowUnit& unit = pack.plan.units[static_cast<std::size_t>(u)];
      for (int r = 0; r < unit.rows; ++r) packer.pack(unit.row + r, u * kUnitRows + r);
    }
  });
  if (grid.rows() == 0 || all_in_order(weight)) return pack;
  const std::int64_t vectors = grid.pattern().is_two_four() ? 1 : std::ssize(grid.vectors());
  pack.columns.resize(static_cast<std::size_t>(vectors * places));
  parallel_for(vectors, threads, [&](std::int64_t v) {
    std::vector<std::int32_t> live(static_cast<std::size_t>(grid.live_cols()));
    pack_columns(weight, v, live, places, pack.columns.data() + v * places);
  });
  return pack;
}

}  // namespace coppice::cuda
