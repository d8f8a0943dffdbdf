#include "format/choice_code.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace coppice {
namespace {

// Writes the columns of the chosen blocks of one group.
void read_block_columns(BitReader& reader, ChoiceCode code, const ColumnGroup& group,
                        std::int32_t* out) {
  std::array<std::int32_t, 256> blocks;
  read_choice(reader, code, group.kept_blocks, group.blocks, 0, blocks.data());
  for (int i = 0; i < group.kept_blocks; ++i, out += group.block_cols) {
    const auto first = static_cast<std::int32_t>(group.col) +
                       blocks[static_cast<std::size_t>(i)] * group.block_cols;
    std::iota(out, out + group.block_cols, first);
  }
}

}  // namespace

void read_live_columns(const SparseView& view, std::int64_t vector, std::span<std::int32_t> out) {
  const Grid& grid = *view.grid;
  if (!grid.has_columns()) {
    std::iota(out.begin(), out.end(), 0);
    return;
  }
  // The span runs on behind this vector, so that only the last bytes of the array are read slowly.
  BitReader reader(
      view.columns.subspan(static_cast<std::size_t>(vector * grid.column_bytes_per_vector())));
  const ChoiceCode code = grid.column_code();
  for (const ColumnGroup& group : grid.groups()) {
    if (group.block_cols == 1) {
      read_choice(reader, code, group.kept_blocks, group.blocks,
                  static_cast<std::int32_t>(group.col), out.data() + group.live_col);
    } else {
      read_block_columns(reader, code, group, out.data() + group.live_col);
    }
  }
}

void read_row_choice(const SparseView& view, std::int64_t row, std::span<std::int32_t> out) {
  const Grid& grid = *view.grid;
  if (!grid.has_metadata()) {
    std::iota(out.begin(), out.end(), 0);
    return;
  }
  BitReader reader(
      view.metadata.subspan(static_cast<std::size_t>(row * grid.metadata_bytes_per_row())));
  const ChoiceCode code = grid.metadata_code();
  for (const ColumnGroup& group : grid.groups())
    read_choice(reader, code, group.kept, group.kept_cols,
                static_cast<std::int32_t>(group.live_col), out.data() + group.value);
}

StoredColumns::StoredColumns(const SparseView& view)
    : view_(view), live_(static_cast<std::size_t>(view.grid->live_cols())) {
  if (view.grid->has_metadata()) row_.resize(static_cast<std::size_t>(view.grid->kept()));
  if (!view.grid->has_columns()) {
    std::iota(live_.begin(), live_.end(), 0);
    if (!view.input_permutation.empty()) std::ranges::copy(view.input_permutation, live_.begin());
  }
}

std::span<const std::int32_t> StoredColumns::seek(std::int64_t vector) {
  if (!view_.grid->has_columns()) return live_;  // the same in every vector
  read_live_columns(view_, vector, live_);
  if (!view_.input_permutation.empty()) {
    for (std::int32_t& col : live_)
      col = static_cast<std::int32_t>(view_.input_permutation[static_cast<std::size_t>(col)]);
  }
  return live_;
}

std::span<const std::int32_t> StoredColumns::row(std::int64_t row) {
  if (!view_.grid->has_metadata()) return live_;
  read_row_choice(view_, row, row_);
  for (std::int32_t& place : row_) place = live_[static_cast<std::size_t>(place)];
  return row_;
}

void copy_bits(std::span<const std::byte> in, std::int64_t first, std::int64_t count,
               std::byte* out) {
  BitReader reader(in, first);
  BitWriter writer(out);
  while (count > 0) {
    const int bits = static_cast<int>(std::min<std::int64_t>(count, BitWriter::kMaxBits));
    writer.write(reader.read(bits), bits);
    count -= bits;
  }
  writer.finish();
}

}  // namespace coppice
