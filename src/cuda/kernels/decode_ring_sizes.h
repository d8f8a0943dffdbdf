// The shared memory of the ring kernels of decode, and who copies what. Index arithmetic for the
// host and the device.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/kernels/decode_sizes.h"

namespace coppice::cuda::decode {

inline constexpr int kMostRingTokens = 16;  ///< of a tile
/// Warps of a thread block: as many as a scheduler needs to stay busy, and registers allow.
constexpr int ring_warps(int tokens) { return tokens == 8 ? 16 : 8; }
/// Units of 16 rows that a warp has sums of, and if it has two slices.
constexpr int most_run_units(int tokens) { return tokens == 8 ? 4 : 8; }
inline constexpr int kMostPairedUnits = 4;
inline constexpr int kUnitValueBytes = kUnitRows * kStepKept * 2;
inline constexpr int kUnitMetadataBytes = 32 * 4;
inline constexpr int kUnitBytes = kUnitValueBytes + kUnitMetadataBytes;
inline constexpr int kMostTileUnits = 64;
inline constexpr int kMostSlots = 8;  ///< of a warp
/// A thread block's RowUnits, then the barriers of its warps.
inline constexpr int kRingBarriers = kMostTileUnits * 16;
inline constexpr int kRingFixed = kRingBarriers + 16 * kMostSlots * 8;

/// What a ring kernel is run with, beside a DecodeShape.
struct RingSizes {
  std::int32_t run_units = 1;  ///< of 16 rows, of a warp
  std::int32_t slots = 2;      ///< of a warp, each with its weights of a step
  std::int32_t early = 2;      ///< of them, filled before activations are there
  std::int32_t sides = 2;      ///< of a warp's activations, those of a step in each
  std::int32_t side_bytes = 0;
  std::int32_t slice_shift = 0;  ///< log2 of the number of slices
  // Of weights with lists, which have no sides: for each token a row of the columns alive of all
  // vectors of a tile.
  std::int32_t listed_pitch = 0;  ///< bytes; 0: no lists
  std::int32_t listed_bytes = 0;  ///< of all
  // All columns of one token lie behind the early slots, where other slots will be.
  std::int32_t dense_bytes = 0, late_place = 0;

  constexpr int slot_bytes() const { return run_units * kUnitBytes; }
  constexpr int warp_bytes() const { return sides * side_bytes + early * slot_bytes(); }
};

/// 16 bytes more than the columns of a step: eight tokens lie in different banks.
inline constexpr int kSidePitch = kStepCols * 2 + 16;

/// Bytes of all columns alive of a vector, of one token.
COPPICE_HOST_DEVICE constexpr int vector_bytes(int steps) { return steps * kStepCols * 2; }
/// Tokens whose columns are looked up one by one; more are cheaper by the other kernel.
inline constexpr int kMostListedTokens = 4;

/// Vectors that `units` units in a row can belong to, of blocks with so many vectors (1, 2 or 4) in
/// equal parts.
constexpr int most_vectors(int units, int block_vectors) {
  const int part = kBlockUnits / block_vectors;
  return 1 + (units - 1 + part - 1) / part;
}

/// What lane `lane` copies of units [first, first + units) of a step: even lanes the values of a
/// block, odd ones its metadata; nothing from lane kCopyLanes on.
struct RunCopy {
  int unit;  ///< of the weight; the copy begins there
  int from;  ///< bytes from the beginning of its record
  int to;    ///< in the slot
  int bytes;
};
inline constexpr int kCopyLanes = 2 * 3;  ///< a run of 8 units lies in three blocks
COPPICE_HOST_DEVICE constexpr RunCopy run_copy(int lane, int first, int units, int run_units) {
  const int block = first / kBlockUnits + lane / 2;
  const int begin = block * kBlockUnits > first ? block * kBlockUnits : first;
  const int end =
      (block + 1) * kBlockUnits < first + units ? (block + 1) * kBlockUnits : first + units;
  const int size = lane % 2 == 0 ? kUnitValueBytes : kUnitMetadataBytes;
  return {begin, (lane % 2 == 0 ? 0 : kValueBytes) + begin % kBlockUnits * size,
          (lane % 2 == 0 ? 0 : run_units * kUnitValueBytes) + (begin - first) * size,
          lane < kCopyLanes && begin < end ? (end - begin) * size : 0};
}

/// First step of slice `slice`: slice_begin for 2^shift slices.
COPPICE_HOST_DEVICE constexpr int ring_slice_begin(int steps, int slice, int shift) {
  return steps * slice >> shift;
}

/// Where lane `lane` points ldmatrix for the values of instruction `j` of a unit.
COPPICE_HOST_DEVICE constexpr int slot_row(int lane, int j) {
  const int matrix = lane / 8;
  return matrix % 2 * kCoreRowBytes + (2 * j + matrix / 2) * kCoreBytes + lane % 8 * 16;
}

/// Where the sum of a unit's row and a token lies among those of the unit, which are as mma.sp
/// leaves them: a fragment for 8 tokens.
COPPICE_HOST_DEVICE constexpr int ring_sum_offset(int row, int token) {
  return token / 8 * kFragmentBytes + (row % 8 * 4 + token % 8 / 2) * 16 +
         (row / 8 * 2 + token % 2) * 4;
}

/// Shared memory of a thread block: rows of columns alive; for every warp sides and early slots;
/// all columns of a token, and in their place the other slots. Sums take the place of all.
constexpr int ring_bytes(const RingSizes& r, const DecodeShape& s) {
  const int sums = s.warps() * r.run_units * s.panels() * kFragmentBytes;
  const int late = s.warps() * (r.slots - r.early) * r.slot_bytes();
  return kRingFixed + std::max(r.late_place + std::max(r.dense_bytes, late), sums);
}

/// Units that a thread block's warps have room for.
constexpr int most_tile_units(const DecodeShape& s) {
  return s.row_warps * (warp_slices(s) == 2 ? kMostPairedUnits : most_run_units(s.tokens));
}

/// How the units of a weight are dealt out: as evenly as can be, so that all multiprocessors have a
/// thread block of every kernel, and none has two of one while another has none.
struct UnitShare {
  std::int32_t tiles = 0, each = 0, more = 0;  ///< the first `more` tiles have one more
  constexpr int most() const { return each + (more > 0 ? 1 : 0); }
};
COPPICE_HOST_DEVICE constexpr std::int32_t first_unit_of(const UnitShare& s, std::int32_t tile) {
  return tile * s.each + (tile < s.more ? tile : s.more);
}
constexpr UnitShare share_units(std::int64_t units, std::int64_t tiles) {
  const std::int64_t count = std::max<std::int64_t>(1, std::min(units, tiles));
  return {static_cast<std::int32_t>(count), static_cast<std::int32_t>(units / count),
          static_cast<std::int32_t>(units % count)};
}

/// Half of a multiprocessor's memory for each thread block, where that has room for a slot of every
/// warp: then the next kernel's have the other half.
/// @param tile_units at most, of a thread block. @param lists of columns in a block of 64 rows, 0:
/// all columns are alive in order. @param shared_bytes that one can use.
constexpr RingSizes ring_sizes(const DecodeShape& s, int tile_units, int lists, std::int64_t steps,
                               std::int64_t cols, std::int64_t tokens, int shared_bytes) {
  constexpr int kReserved = 1024;  // of every thread block
  RingSizes r;
  while (1 << r.slice_shift < s.slices()) ++r.slice_shift;
  r.run_units = (tile_units + s.row_warps - 1) / s.row_warps;
  const int rows = static_cast<int>(std::min<std::int64_t>(s.tokens, tokens));
  if (lists == 0) {
    r.side_bytes = rows * kSidePitch;
  } else {
    r.sides = 0;
    r.listed_pitch = most_vectors(tile_units, lists) * vector_bytes(static_cast<int>(steps)) + 16;
    r.listed_bytes = rows * r.listed_pitch;
    r.dense_bytes = static_cast<int>((cols + 7) / 8 * 16);
  }
  for (const int residents : {2, 1}) {
    const int left = (shared_bytes + kReserved) / residents - kReserved - kRingFixed -
                     r.listed_bytes - s.warps() * r.sides * r.side_bytes;
    const auto slots = [&](int bytes) {
      return std::min(kMostSlots, std::max(0, bytes) / (s.warps() * r.slot_bytes()));
    };
    r.early = slots(left - r.dense_bytes);
    r.slots = slots(left);
    r.late_place = r.listed_bytes + s.warps() * r.warp_bytes();
    const int shared = (shared_bytes + kReserved) / residents - kReserved;
    if (r.early > 0 && ring_bytes(r, s) <= shared) return r;
  }
  r.slots = 0;  // does not fit
  return r;
}

}  // namespace coppice::cuda::decode
