// Where everything lies in a stage of the mma kernels, and who copies and reads what: index
// arithmetic only, so that tests can follow a product through shared memory without a GPU.
//
// A stage is the weight's blocks (values, then metadata), parts of the column lists, a barrier, and
// rows of activations. Chunk c (16 bytes, 8 tokens) of row r lies in place c ^ r % 8: eight rows
// that differ mod 8 are read without bank conflicts.
#pragma once

#include "cuda/kernels/mma_shapes.h"
#include "cuda/packed_layout.h"
#include "cuda/ptx/choose.h"

namespace coppice::cuda::mma {

inline constexpr int kMostStages = 8;
inline constexpr int kBarrierBytes = 16;
inline constexpr int kHalfCols = kStepCols / 2;  // columns alive of an instruction
inline constexpr int kEntryBytes = 2;            // of a column in a list

/// Whether a kernel has column lists at all, and whether it keeps them decoded in shared memory.
COPPICE_HOST_DEVICE constexpr bool has_lists(const MmaKernel& kernel) {
  return kernel.rows != MmaRows::in_order;
}
COPPICE_HOST_DEVICE constexpr bool decodes_lists(const MmaKernel& kernel) {
  return kernel.rows == MmaRows::gathered;
}

/// Compile-time offsets and sizes in bytes.
template <MmaKernel kKernel>
struct Stage {
  static constexpr int kValues = kValueBytes / 2 * kKernel.halves;  // of a block
  static constexpr int kBlock = kValues + kMetadataBytes;
  static constexpr int kList = kKernel.places() * kEntryBytes;  // of a stage, at most
  static constexpr int kAllLists = kKernel.lists() * kList;
  static constexpr int kPackedLists = kKernel.row_warps * kBlock;                     // offset
  static constexpr int kLists = kPackedLists + (has_lists(kKernel) ? kAllLists : 0);  // offset
  static constexpr int kBarrier = kLists + (decodes_lists(kKernel) ? kAllLists : 0);  // offset
  static constexpr int kRows = (kBarrier + kBarrierBytes + 127) / 128 * 128;          // offset
  static constexpr int kPitch = kKernel.tile_tokens() * 2;
};

/// The same for a kernel known at run time: bytes of a stage, and of all shared memory.
constexpr int stage_bytes(const MmaKernel& kernel, int stage_rows) {
  const int block = kValueBytes / 2 * kernel.halves + kMetadataBytes;
  const int lists =
      (has_lists(kernel) + decodes_lists(kernel)) * kernel.lists() * kernel.places() * kEntryBytes;
  return (kernel.row_warps * block + lists + kBarrierBytes + 127) / 128 * 128 +
         stage_rows * kernel.tile_tokens() * 2;
}
constexpr int shared_bytes(const MmaKernel& kernel, int stage_rows, int stages) {
  return stages * stage_bytes(kernel, stage_rows) + 128;
}

/// How many stages a warp may be ahead of the slowest one: where it leaves a stage and begins to
/// fill another. Two cost a stage of copies under way.
COPPICE_HOST_DEVICE constexpr int slack(int stages) { return stages >= 4 ? 2 : 1; }

/// Lists travel, as they are packed, so many stages before the rows that they say: a window's are
/// decoded by the warps that read the rows, one stage early. Gathered rows' are decoded `slack`
/// stages before the rows are copied, so that all warps' parts are there, and kept as columns of 16
/// bits in the stage at which copying begins.
COPPICE_HOST_DEVICE constexpr int lists_ahead(const MmaKernel& kernel, int stages) {
  return decodes_lists(kernel) ? stages : 1;
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

/// Where a stage's part of a packed list has place `place` of the stage: bits from bit `shift` of
/// two bytes on.
struct PackedPlace {
  int byte, shift;
};
COPPICE_HOST_DEVICE constexpr PackedPlace packed_place(int place, int quad_bytes) {
  const int bit = quad_bytes == 1 ? 0 : 2 * quad_bytes * (place % 4);
  return {place / 4 * quad_bytes + bit / 8, bit % 8};
}

/// The column that these bits say, from the first column of the stage's groups on (in lists of 16
/// bits a column: from 0 on). In a window that is the row: padding is offset 0 or 1 of its group.
COPPICE_HOST_DEVICE inline std::uint32_t listed_column(std::uint32_t bits, int place,
                                                       int quad_bytes, int group) {
  const auto first =
      quad_bytes == kColumnQuadBytes ? 0u : static_cast<std::uint32_t>(place / 4 * group);
  const std::uint32_t offset = bits & ((1u << 2 * quad_bytes) - 1);
  std::uint32_t mask = bits & 0xFF;
  for (int i = 0; i < 3; ++i) {
    const std::uint32_t left = mask & (mask - 1);
    if (i < place % 4 && left != 0) mask = left;  // a short group ends in its last column
  }
  return first + ptx::choose(quad_bytes == 1, static_cast<std::uint32_t>(lowest_bit(mask)), offset);
}

}  // namespace coppice::cuda::mma
