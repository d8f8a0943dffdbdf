// Fragments with activations held in registers (held_kernel.h): how a weight is cut into slots and
// slices, and what a thread block has in shared memory. Index arithmetic only, for the host and the
// device.
//
// A slice is what a warp has the activations of: 8 KB, 256 columns of 16 tokens or 512 of 8. It
// meets the slices of a unit of 16 rows slot by slot, 2 KB of values at a time.
#pragma once

#include <algorithm>
#include <array>

#include "cuda/element/fragment_config.h"

namespace coppice::cuda {

inline constexpr int kHeldWarps = 8;  // of a thread block: 128 registers, two on a multiprocessor
inline constexpr int kHeldSums = 2;   // units whose sums a thread block has under way
inline constexpr int kMostHeldStages = 8;     // slots of a warp
inline constexpr int kHeldSumColumns = 2048;  // see HeldSums

struct HeldConfig {
  FragmentForm form;
  int tiles = 1;  ///< of 8 tokens

  constexpr int tokens() const { return 8 * tiles; }
  constexpr int slice_columns() const { return 512 / tiles; }
  constexpr int piece_columns() const { return kElementLanes * 8 / form.kept * form.group; }
  constexpr int slot_pieces() const { return std::min(2, slice_columns() / piece_columns()); }
  constexpr int slot_columns() const { return slot_pieces() * piece_columns(); }
  constexpr int slice_slots() const { return slice_columns() / slot_columns(); }
  /// Slices that are added up to kHeldSumColumns first.
  constexpr int sum_slices() const { return kHeldSumColumns / slice_columns(); }
  /// Groups of a lane and row in a slot, and their choices, which may begin within a word.
  constexpr int slot_groups() const { return slot_pieces() * 8 / form.kept; }
  constexpr int slot_bits() const { return slot_groups() * form.choice_bits(); }
  constexpr int slot_words() const { return (slot_bits() + 31) / 32; }
  /// Values of rows g, or g + 8; then the choices of these, then of those.
  constexpr int half_bytes() const { return slot_pieces() * 32 * kPieceBytes; }
  constexpr int choice_bytes() const { return slot_words() * 32 * 4; }
  constexpr int slot_bytes() const { return 2 * (half_bytes() + choice_bytes()); }
  /// Sums of a unit in the fragment order of mma.
  constexpr int sum_bytes() const { return tiles * 32 * 16; }
};

constexpr int held_slots(const HeldConfig& config, const ElementLayout& l) {
  return (l.pieces + config.slot_pieces() - 1) / config.slot_pieces();
}

/// Where what a thread block has in shared memory lies, in bytes.
struct HeldPlaces {
  std::uint32_t barriers, sums, kept, inbox, slots, bytes;
  int stages;  ///< slots of a warp
  int passes;
};

/// Barriers: two for each unit whose sums are under way of each row warp, one for the inbox, then
/// those of slots.
inline constexpr int kHeldBarriers = 2 * kHeldSums * kHeldWarps + 1;

constexpr int held_passes(const ElementSplit& s) {
  return s.pass_chunks == 0 ? 1 : (s.rank_chunks + s.pass_chunks - 1) / s.pass_chunks;
}

constexpr HeldPlaces held_places(const HeldConfig& config, const ElementSplit& s, int stages) {
  constexpr std::uint32_t kAlignment = 128;
  const auto up = [](std::uint32_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; };
  const std::uint32_t sum = config.sum_bytes();
  const std::uint32_t own = (s.tile_parts + s.ranks - 1) / s.ranks;
  HeldPlaces at{};
  at.stages = stages;
  at.passes = held_passes(s);
  at.barriers = config.form.table_bytes();
  at.sums = up(at.barriers + 8 * (kHeldBarriers + kHeldWarps * stages));
  at.kept = at.sums + kHeldSums * kHeldWarps * sum;
  at.inbox = at.kept + (at.passes > 1 ? s.tile_parts : own) * sum;
  at.slots = at.inbox + own * (s.ranks - 1) * sum;
  at.bytes = at.slots + kHeldWarps * stages * config.slot_bytes();
  return at;
}

/// As many slots as fit into half of a multiprocessor's memory; 0: not even two.
constexpr int held_stages(const HeldConfig& config, const ElementSplit& s) {
  constexpr int kReserved = 1024;  // of every thread block
  const int half = (s.shared_bytes + kReserved) / 2 - kReserved;
  for (int stages = kMostHeldStages; stages >= 2; --stages)
    if (static_cast<int>(held_places(config, s, stages).bytes) <= half) return stages;
  return 0;
}

inline constexpr std::array kHeldTiles = {8, 16};  // tokens

constexpr HeldConfig held_config(int form, int tile_tokens) {
  return {kFragmentForms[static_cast<std::size_t>(form)], tile_tokens / 8};
}

/// Whether there is a kernel: `form` of kFragmentForms, rows with choices of their own.
constexpr bool takes_held(const ElementLayout& l, int form) {
  return form >= 0 && form < kExpandedForms && l.vec_rows == 1 && l.pieces > 0;
}

/// How a product of a tile is divided; `warp_chunks` and so on are slots. Sums of both tiles are
/// added up in the same order.
ElementSplit split_held(const HeldConfig& config, const ElementLayout& layout, int multiprocessors,
                        int shared_bytes);

}  // namespace coppice::cuda
