// Reads the choices of the canonical form, group by group.
#pragma once

#include <cstddef>
#include <cstdint>

#include "coppice/sparse_matrix.h"

namespace coppice::cpu {

/// Reads `kept` of `of` ascending indices that start at a bit. @param out room for `kept` ints.
inline void read_choice(const std::byte* data, std::int64_t bit, ChoiceCode code, int kept, int of,
                        int* out) {
  auto get = [&](std::int64_t b) {
    return (std::to_integer<unsigned>(data[b >> 3]) >> (b & 7)) & 1u;
  };
  if (code.bitmask) {
    for (int i = 0, n = 0; i < of && n < kept; ++i)
      if (get(bit + i)) out[n++] = i;
    return;
  }
  for (int n = 0; n < kept; ++n) {
    unsigned index = 0;
    for (int b = 0; b < code.bits; ++b) index |= get(bit + std::int64_t{n} * code.bits + b) << b;
    out[n] = static_cast<int>(index);
  }
}

/// The blocks that a vector keeps in a group. @param out room for group.kept_blocks ints.
inline void read_blocks(const SparseView& weight, std::int64_t vector, const ColumnGroup& group,
                        int* out) {
  const Grid& grid = *weight.grid;
  if (!grid.has_columns()) {
    for (int i = 0; i < group.kept_blocks; ++i) out[i] = i;
    return;
  }
  read_choice(weight.columns.data() + vector * grid.column_bytes_per_vector(), group.column_bit,
              grid.column_code(), group.kept_blocks, group.blocks, out);
}

/// Which of the group's kept columns a row keeps. @param out room for group.kept ints.
inline void read_row_choice(const SparseView& weight, std::int64_t row, const ColumnGroup& group,
                            int* out) {
  const Grid& grid = *weight.grid;
  if (!grid.has_metadata()) {
    for (int i = 0; i < group.kept; ++i) out[i] = i;
    return;
  }
  read_choice(weight.metadata.data() + row * grid.metadata_bytes_per_row(), group.metadata_bit,
              grid.metadata_code(), group.kept, group.kept_cols, out);
}

/// The grid column of the group's live column number `live`, given the kept blocks.
inline std::int64_t live_column(const ColumnGroup& group, const int* blocks, int live) {
  return group.col + std::int64_t{blocks[live / group.block_cols]} * group.block_cols +
         live % group.block_cols;
}

/// The weight column (original order) of a grid column.
inline std::int64_t original_column(const SparseView& weight, std::int64_t grid_col) {
  return weight.input_permutation.empty()
             ? grid_col
             : weight.input_permutation[static_cast<std::size_t>(grid_col)];
}

}  // namespace coppice::cpu
