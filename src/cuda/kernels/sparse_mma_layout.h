// Where everything lies in a stage of the mma kernels, and who copies and reads what: index
// arithmetic only, so that tests can follow a product through shared memory without a GPU.
//
// A stage is the weight's blocks (values, then metadata), the column lists, a barrier, and rows of
// activations. Chunk c (16 bytes, 8 tokens) of row r lies in place c ^ r % 8: eight rows that
// differ mod 8 are read without bank conflicts.
#pragma once

#include "cuda/packed_layout.h"
#include "cuda/select.h"

namespace coppice::cuda::mma {

inline constexpr int kMostStages = 8;
inline constexpr int kBarrierBytes = 16;
inline constexpr int kHalfCols = kStepCols / 2;  // columns alive of an instruction
inline constexpr int kEntryBytes = 2;            // of a column list

/// Compile-time offsets and sizes in bytes.
template <MmaKernel kKernel>
struct Stage {
  static constexpr int kValues = kValueBytes / 2 * kKernel.halves;  // of a block
  static constexpr int kBlock = kValues + kMetadataBytes;
  static constexpr int kList = kHalfCols * kEntryBytes * kKernel.halves;
  static constexpr int kLists = kKernel.row_warps * kBlock;                   // offset
  static constexpr int kBarrier = kLists + kKernel.lists() * kList;           // offset
  static constexpr int kRows = (kBarrier + kBarrierBytes + 127) / 128 * 128;  // offset
  static constexpr int kPitch = kKernel.tile_tokens() * 2;
};

/// The same for a kernel known at run time: bytes of a stage, and of all shared memory.
constexpr int stage_bytes(const MmaKernel& kernel, int stage_rows) {
  const int block = kValueBytes / 2 * kernel.halves + kMetadataBytes;
  const int lists = kernel.lists() * kHalfCols * kEntryBytes * kernel.halves;
  return (kernel.row_warps * block + lists + kBarrierBytes + 127) / 128 * 128 +
         stage_rows * kernel.tile_tokens() * 2;
}
constexpr int shared_bytes(const MmaKernel& kernel, int stage_rows, int stages) {
  return stages * stage_bytes(kernel, stage_rows) + 128;
}

/// Stages whose lists lie in the stage before it (window), or so many before it that they are there
/// when the stage is copied.
COPPICE_HOST_DEVICE constexpr int lists_ahead(const MmaKernel& kernel, int stages) {
  return kernel.rows == MmaRows::gathered ? stages - 1 : 1;
}

/// The 8 places for copies in half a step, each after 4 products, are used but for those of one
/// group of products, of 2 * vectors: there warps tell each other that they have read a stage.
constexpr int copy_slots(const MmaKernel& kernel) { return 8 * kernel.halves - 4 / kernel.vectors; }

/// Copies of activations: a thread copies one chunk of every 128 bytes of every kRowsAtOnce-th row.
template <MmaKernel kKernel>
struct RowCopy {
  static constexpr int kOfRow = Stage<kKernel>::kPitch / 128;
  static constexpr int kRowsAtOnce = kKernel.threads() / 8;
  static_assert(kRowsAtOnce % 8 == 0 || kRowsAtOnce == 4);
  /// A thread's place in its next row is the same, or by this much elsewhere.
  static constexpr int kFlip = kRowsAtOnce == 4 ? 4 * 16 : 0;
  int row, chunk;
  COPPICE_HOST_DEVICE constexpr explicit RowCopy(int thread) : row(thread / 8), chunk(thread % 8) {}
  /// Bytes from the first row of the stage to the first chunk of this thread's row number `i`.
  COPPICE_HOST_DEVICE constexpr int target(int i) const {
    const int first = row * Stage<kKernel>::kPitch + (chunk ^ row % 8) * 16;
    return (i % 2 != 0 ? first ^ kFlip : first) + i * (kRowsAtOnce * Stage<kKernel>::kPitch);
  }
};

/// Copies of weights: the threads of a row of warps copy its block.
template <MmaKernel kKernel>
struct WeightCopy {
  static constexpr int kThreads = 32 * kKernel.token_warps;
  static constexpr int kCopies = Stage<kKernel>::kValues / 16 / kThreads;
  static_assert(kCopies * kThreads * 16 == Stage<kKernel>::kValues);
  int block, first;  // of the tile; chunk
  COPPICE_HOST_DEVICE constexpr explicit WeightCopy(int thread)
      : block(thread / kThreads), first(thread % kThreads) {}
  /// Byte of a record where copy i of half-step `half` starts: of every 8 rows 256 bytes are half a
  /// step's.
  COPPICE_HOST_DEVICE constexpr int source(int i, int half) const {
    const int chunk = first + i * kThreads;
    if (kKernel.halves == 2) return chunk * 16;
    return chunk / 16 * kCoreRowBytes + half * (kCoreRowBytes / 2) + chunk % 16 * 16;
  }
  /// source(i, .) - source(0, .), which does not depend on the thread.
  COPPICE_HOST_DEVICE static constexpr int source_step(int i) {
    return i * kThreads * (kKernel.halves == 2 ? 16 : kCoreRowBytes / 16);
  }
  static_assert(kKernel.halves == 2 || kThreads % 16 == 0);
  COPPICE_HOST_DEVICE constexpr int target(int i) const {
    return block * Stage<kKernel>::kBlock + (first + i * kThreads) * 16;
  }
};

/// Where a lane points ldmatrix for the values of unit 0 of a block; the units follow each other at
/// unit_step. Matrices: rows 0-7, rows 8-15, then the same for values 8-15.
template <MmaKernel kKernel>
COPPICE_HOST_DEVICE constexpr int value_address(int lane, int half) {
  constexpr int kCoreRow = Stage<kKernel>::kValues / 8;
  return lane / 8 % 2 * kCoreRow + lane / 16 * kCoreBytes + lane % 8 * 16 +
         (kKernel.halves == 2 ? half * 2 * kCoreBytes : 0);
}
template <MmaKernel kKernel>
inline constexpr int kHalfValues = kKernel.halves == 2 ? 2 * kCoreBytes : 0;
template <MmaKernel kKernel>
inline constexpr int kUnitValues = Stage<kKernel>::kValues / kBlockUnits;

/// Where ldmatrix finds the first 8 of a warp's tokens of a row; the others by ^ 16 * j.
template <MmaKernel kKernel>
COPPICE_HOST_DEVICE constexpr int row_address(int row, int token_warp) {
  return row * Stage<kKernel>::kPitch + token_warp * 128 + row % 8 * 16;
}

/// The row that holds place `place` (0..31 of half-step `half` of the stage): for a window, of
/// column `column` of the weight; `first` is the window's first column. Padding may lie outside of
/// the window: its value is zero, any row will do.
COPPICE_HOST_DEVICE constexpr int window_row(int column, int first, int stage_rows) {
  const auto row = static_cast<unsigned>(column - first);
  return row < static_cast<unsigned>(stage_rows) ? static_cast<int>(row) : 0;
}

}  // namespace coppice::cuda::mma
