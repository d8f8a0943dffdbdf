// How products of quads by rings (quad_ring_kernel.h) are divided, and what they have in shared
// memory: index arithmetic only, for the host and the device.
//
// What a warp brings at a time is a slot: of both rows of its lanes eight units (quad_form.h), 2 KB
// of values, and the words that their codes lie in.
#pragma once

#include <algorithm>
#include <array>

#include "cuda/element/quad_form.h"

namespace coppice::cuda {

inline constexpr int kSlotUnits = 8, kSlotPieces = 2;
inline constexpr int kHalfSlotBytes = kSlotPieces * 32 * kPieceBytes;  // values of rows g, or g + 8

/// Words of 8 vectors' codes in a slot, 128 bytes each; 2:8 has the half of one in common with the
/// slot beside.
constexpr int slot_words(const QuadForm& form) { return (kSlotUnits * form.code_bits() + 31) / 32; }
constexpr int slot_blocks(const QuadForm& form) { return kSlotUnits * form.unit_quads() / 4; }
constexpr int slot_bytes(const QuadForm& form) {
  return 2 * (kHalfSlotBytes + slot_words(form) * 128);
}
/// Where the codes of a slot begin, in bits of a lane's words.
COPPICE_HOST_DEVICE constexpr int slot_bit(const QuadForm& form, int slot) {
  return slot * kSlotUnits * form.code_bits();
}

/// Copies of a table in different banks: fewer of a large one.
constexpr int table_copies(const QuadForm& form) { return form.code_bits() > 6 ? 16 : 32; }
constexpr int ring_table_bytes(const QuadForm& form) {
  return table_copies(form) * 4 << form.code_bits();
}

constexpr int quad_slots(const ElementLayout& l) {
  return (l.pieces + kSlotPieces - 1) / kSlotPieces;
}

/// How a product is divided: a thread block has so many units of 16 rows, and groups of warps that
/// divide the slots of its rank.
struct QuadSplit {
  int units = 16, groups = 1;
  int ranks = 1;       ///< thread blocks of a cluster
  int part_slots = 0;  ///< of a rank's group
  // Warpgroups are whole.
  COPPICE_HOST_DEVICE constexpr int group_warps() const { return (units + 3) / 4 * 4; }
  COPPICE_HOST_DEVICE constexpr int warps() const { return groups * group_warps(); }
  friend bool operator==(const QuadSplit&, const QuadSplit&) = default;
};

/// Tiles of tokens. Those of kQuadTiles are quad_kernel.h's, which is as fast where all its thread
/// blocks have 256 rows, and takes less power.
inline constexpr std::array kQuadRingTiles = {40, 48, 80, 96, 128};

/// Number of a tile among others; -1: it is none of them.
template <std::size_t kCount>
constexpr int tile_number(const std::array<int, kCount>& tiles, int tokens) {
  for (std::size_t i = 0; i < kCount; ++i)
    if (tiles[i] == tokens) return static_cast<int>(i);
  return -1;
}
constexpr int quad_ring_tile(int tokens) { return tile_number(kQuadRingTiles, tokens); }
constexpr int quad_register_tile(int tokens) { return tile_number(kQuadTiles, tokens); }

inline constexpr int kQuadStageBlocks = 2;  // of activations, 64 slots each
constexpr int quad_stage_bytes(int tokens) { return kQuadStageBlocks * tokens * 128; }

/// Where things are in shared memory. Stages come first: a multiple of 1024 bytes each. At the end
/// sums of groups and ranks are there (quad_sums.h).
struct QuadRingPlaces {
  int stages = 0, slots = 0;  // of a group, of a warp
  int table = 0, stage_barriers = 0, slot_barriers = 0, ring = 0, bytes = 0;
};

inline constexpr int kMostQuadSlots = 4, kMostQuadStages = 8, kLeastQuadStages = 3;
inline constexpr int kMostQuadWarps = 16;

inline constexpr int kPartFragmentsMost = 4;  // of 8 tokens each, that the epilogue takes together

/// Bytes that sums of groups and ranks take: parts, of 16 rows each, dealt out to the ranks.
constexpr int quad_sum_bytes(const QuadSplit& s, int tokens) {
  constexpr int kPartTokens = 8 * kPartFragmentsMost;
  const int parts = s.units * ((tokens + kPartTokens - 1) / kPartTokens);
  return (parts + s.ranks - 1) / s.ranks * s.ranks * s.groups * kUnitRows * kPartTokens * 4;
}

/// `slots`: 0 if there is no room.
constexpr QuadRingPlaces quad_ring_places(const QuadForm& form, int tokens,
                                          const QuadSplit& split) {
  constexpr int kMost = 227 * 1024, kBarriers = 1024;
  const int limit = kMost - kBarriers - ring_table_bytes(form);
  const int stage = split.groups * quad_stage_bytes(tokens);
  const int slot = split.groups * split.units * slot_bytes(form);
  QuadRingPlaces at;
  // Four stages rather than more slots (H200: 13 % at 128 tokens), three if there is no room.
  for (int stages = 4; stages >= kLeastQuadStages && at.slots == 0; --stages)
    at.slots = std::clamp((limit - stages * stage) / slot, 0, kMostQuadSlots);
  at.stages = std::clamp((limit - at.slots * slot) / stage, 0, kMostQuadStages);
  at.table = at.stages * stage;
  at.stage_barriers = at.table + ring_table_bytes(form);
  at.slot_barriers = at.stage_barriers + split.groups * at.stages * 16;
  at.ring = at.stage_barriers + kBarriers;
  at.bytes = std::max(at.ring + at.slots * slot, quad_sum_bytes(split, tokens));
  return at;
}

/// Clocks of a thread block of so many warpgroups for 64 slots of all its rows (H200, measured).
struct QuadClocks {
  double block = 396, group_token = 2.18;
  double rank = 1200;   ///< of a cluster, for each but the first, in every round
  double round = 3000;  ///< of thread blocks, but the first
  double alone = 1.2;   ///< times those of warps with one slot, which wait for it
  constexpr double of(int warpgroups, int tokens) const {
    return block + warpgroups * group_token * tokens;
  }
};

/// Of all rounds of thread blocks.
double quad_split_clocks(const QuadForm& form, const QuadSplit& split, int units, int tokens,
                         int token_tiles, int multiprocessors, const QuadClocks& clocks);

/// The fastest division for so many tiles of tokens.
QuadSplit split_quad_rings(const ElementLayout& layout, int tokens, int token_tiles,
                           int multiprocessors);

}  // namespace coppice::cuda
