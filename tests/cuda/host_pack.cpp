#include "cuda/host_pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "coppice/error.h"
#include "core/parallel_for.h"
#include "format/choice_code.h"

namespace coppice::cuda {
namespace {

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

// Quads of short groups are padded with their last column.
std::uint32_t padded_column(const ColumnGroup& group, std::span<const std::int32_t> live,
                            int place) {
  const std::int64_t at = group.live_col + std::min(place, group.kept_cols - 1);
  return static_cast<std::uint32_t>(live[static_cast<std::size_t>(at)]);
}

// Offsets in groups; see ColumnLists.
std::uint64_t quad_offsets(const ColumnGroup& group, std::span<const std::int32_t> live,
                           int quad_bytes) {
  std::uint64_t bits = 0;
  for (int i = 0; i < 4; ++i) {
    const std::uint64_t offset =
        padded_column(group, live, i) - static_cast<std::uint64_t>(group.col);
    bits |= quad_bytes == 1 ? std::uint64_t{1} << offset : offset << (2 * quad_bytes * i);
  }
  return bits;
}

// Four columns of 16 bits, in original order of columns.
std::uint64_t quad_columns(const ColumnGroup& group, std::span<const std::int32_t> live,
                           std::span<const std::uint32_t> permutation) {
  std::uint64_t bits = 0;
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t column = padded_column(group, live, i);
    bits |= std::uint64_t{permutation.empty() ? column : permutation[column]} << (16 * i);
  }
  return bits;
}

// A vector's list of columns alive. In lists of columns, quads behind the last group repeat it.
void pack_columns(const SparseView& view, std::int64_t vector, std::span<std::int32_t> live,
                  const PackPlan& plan, std::byte* out) {
  const int quad_bytes = plan.quad_bytes;
  read_live_columns(view, vector, live);
  const auto groups = view.grid->groups();
  std::uint64_t bits = 0;
  for (std::int64_t q = 0; q < plan.steps * kStepQuads; ++q, out += quad_bytes) {
    if (q < std::ssize(groups))
      bits = quad_bytes == kColumnQuadBytes
                 ? quad_columns(groups[static_cast<std::size_t>(q)], live, view.input_permutation)
                 : quad_offsets(groups[static_cast<std::size_t>(q)], live, quad_bytes);
    else if (quad_bytes < kColumnQuadBytes)
      bits = kPaddingQuad;
    std::memcpy(out, &bits, static_cast<std::size_t>(quad_bytes));
  }
}

}  // namespace

HostPack pack_on_host(const SparseView& weight, int threads) {
  if (weight.dtype != Dtype::f16 && weight.dtype != Dtype::bf16)
    throw InvalidArgument(
        fmt::format("a weight of {}: the CUDA backend multiplies by F16 and BF16; convert it first",
                    dtype_name(weight.dtype)));
  const Grid& grid = *weight.grid;
  HostPack pack;
  pack.plan = plan_pack(grid, !weight.input_permutation.empty());
  const PackPlan& plan = pack.plan;
  pack.records.resize(static_cast<std::size_t>(plan.blocks * plan.steps * kRecordBytes));
  parallel_for(plan.blocks, threads, [&](std::int64_t block) {
    clear_records(pack.records.data() + block * plan.steps * kRecordBytes, plan.steps);
    RowPacker packer(weight, plan, pack.records.data());
    for (std::int64_t u = block * kBlockUnits; u < (block + 1) * kBlockUnits; ++u) {
      const RowUnit& unit = plan.units[static_cast<std::size_t>(u)];
      for (int r = 0; r < unit.rows; ++r) packer.pack(unit.row + r, u * kUnitRows + r);
    }
  });
  const std::int64_t list_bytes = plan.steps * kStepQuads * plan.quad_bytes;
  pack.columns.resize(static_cast<std::size_t>(plan.lists * list_bytes));
  parallel_for(plan.lists, threads, [&](std::int64_t v) {
    std::vector<std::int32_t> live(static_cast<std::size_t>(grid.live_cols()));
    pack_columns(weight, v, live, plan, pack.columns.data() + v * list_bytes);
  });
  return pack;
}

}  // namespace coppice::cuda
