// What the kernels of GPU compression are given, and their launchers. Not part of the public API.
//
// Every pattern takes the same way: one kernel makes the choices and stores the weights kept, then
// `write_choices` writes the choices bit by bit. Plain 2:4 without inner short groups does both at
// once.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "coppice/dtype.h"
#include "coppice/grid.h"

namespace coppice::cuda {

/// Pointers are device memory.
struct CompressArguments {
  const void* dense = nullptr;
  std::int64_t row_stride = 0;  // elements
  std::int64_t rows = 0, cols = 0;
  bool wide = false;  // rows of `dense` start on 16 bytes

  const ColumnGroup* groups = nullptr;
  const RowVector* vectors = nullptr;
  std::int32_t group_count = 0, vector_count = 0;
  std::int32_t group_cols = 0;  // of a full group: blocks * block_cols
  std::int32_t blocks = 0;      // of a full group
  std::int32_t vec_rows = 0;    // of a full vector
  std::int64_t kept = 0;        // values of a row
  std::int64_t live_cols = 0;   // columns alive in a vector

  void* values = nullptr;  // [rows, kept]
  // The outer choice: bit b of word b/32 says whether block b is kept.
  // (vector, group, choice_words); for element-wise patterns (row, group, choice_words).
  std::uint32_t* choices = nullptr;
  std::int32_t choice_words = 1;
  std::uint8_t* picks = nullptr;    // the row's choice among live columns, as stored: (group, row)
  double* block_sums = nullptr;     // (vector, block of the row); vector- and block-wise only
  std::int32_t* live = nullptr;     // (vector, live_cols); vector- and block-wise only
  std::int32_t* scratch = nullptr;  // (search_blocks, scratch_ints); searches only
  std::int32_t search_blocks = 0;
  std::int64_t scratch_ints = 0;      // 0: shared memory holds them
  unsigned long long* nan = nullptr;  // where the first NaN is
};

/// Choices that become bits: of each owner (a vector or a row), one for each group.
struct ChoiceArguments {
  const ColumnGroup* groups = nullptr;
  std::int32_t group_count = 0;
  std::int64_t owners = 0;
  std::int64_t owner_bytes = 0;  // of `out`
  std::uint8_t* out = nullptr;   // (owners, owner_bytes)
  std::int64_t full_bits = 1;    // of the choice in a full group
};

// Launchers: enqueue on the stream, throw DeviceError.
void launch_two_four(const CompressArguments& a, Dtype dtype, std::uint8_t* metadata,
                     std::int64_t metadata_bytes, cudaStream_t stream);
void launch_elements(const CompressArguments& a, Dtype dtype, cudaStream_t stream);
void launch_blocks(const CompressArguments& a, Dtype dtype, cudaStream_t stream);
void launch_small_vnm(const CompressArguments& a, Dtype dtype, cudaStream_t stream);
void launch_vnm_search(const CompressArguments& a, Dtype dtype, cudaStream_t stream);
/// Writes the choices of vectors (`columns`), or of rows (`metadata` of plain 2:4), given as words
/// of chosen things: (owner, group, choice_words).
void write_block_choices(const ChoiceArguments& c, const std::uint32_t* choices, int choice_words,
                         ChoiceCode code, bool of_row, cudaStream_t stream);
/// Writes the `metadata` of V:N:M from finished codes: (group, owner).
void write_picks(const ChoiceArguments& c, const std::uint8_t* picks, cudaStream_t stream);

/// Columns up to which all sets of a block are counted at once by their common subsets.
inline constexpr int kSmallGroup = 8;
/// Columns up to which all sets of a block are searched.
inline constexpr int kExactGroup = 32;
/// Bytes of shared memory that a search may use for its integers; the rest goes to scratch.
inline constexpr std::int64_t kSearchSharedBytes = 88 * 1024;
/// Thread blocks that search at a time, for each multiprocessor.
inline constexpr int kSearchBlocks = 4;
/// Integers of a row where all sets are searched: whole quads, and rows in different banks.
constexpr int search_pitch(int cols) { return (cols + 3) / 4 * 4 + 4; }
/// Integers of one search block: columns of `vec_rows` rows, padded to full warps.
constexpr std::int64_t search_ints(int cols, std::int64_t vec_rows) {
  return (cols <= kExactGroup ? search_pitch(cols) : cols) * ((vec_rows + 31) / 32 * 32);
}
/// Columns behind column `c`, two at a time.
constexpr int search_steps(int cols, int c) { return (cols - c) / 2; }
/// Pairs of columns with a column below them, and the steps behind them, where all sets are
/// searched.
constexpr int search_triples(int cols) {
  int count = 0;
  for (int b = 1; cols <= kExactGroup && b < cols; ++b)
    for (int c = b + 1; c < cols; ++c) count += search_steps(cols, c);
  return count;
}

}  // namespace coppice::cuda
