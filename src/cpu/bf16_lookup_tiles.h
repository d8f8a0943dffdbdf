// What the kernels of the product in bf16 by look-ups read and write.
#pragma once

#include <cstdint>

#include "cpu/bf16_lookup_plan.h"

namespace coppice::cpu {

/// Two weights of each of 16 rows, where they lie in a window's 32 columns of x and what they are.
/// Of a window with an odd number of slots the last pair has one column twice, and 0 as the second
/// weight, so that nothing but what its row keeps reaches a sum.
struct alignas(64) WeightPairs {
  std::uint16_t columns[2 * kPanelRows];
  std::uint16_t values[2 * kPanelRows];
};

/// The weights of a panel and block, joined to pairs.
struct JoinTask {
  const PackedLayout* layout = nullptr;
  const std::byte* panel = nullptr;       ///< the panel's bytes, of bf16 values
  const LookupWindow* windows = nullptr;  ///< of the block
  int window_count = 0;
  std::int64_t slot = 0;    ///< the block's first
  std::int64_t column = 0;  ///< of x, from which the windows' columns count
  /// Lane format: [slots] the position from which a slot's indices count.
  const std::int32_t* begins = nullptr;
  /// list_per_vector: what positions stand for, 32 more readable; else null: positions are columns.
  const std::uint16_t* columns = nullptr;
  std::int64_t next = 0;  ///< bytes from the panel's to those that are joined next: fetched
  WeightPairs* out = nullptr;
};

inline constexpr int kLookupPanels = 3;                         ///< of a tile, at most
inline constexpr int kLookupTokens[kLookupPanels] = {8, 8, 6};  ///< at most, of 1, 2, 3 panels

/// Some panels of pairs by some tokens.
struct LookupTile {
  const WeightPairs* pairs[kLookupPanels] = {};
  int panels = 0;
  const LookupWindow* windows = nullptr;
  int window_count = 0;
  const std::uint16_t* x = nullptr;  ///< token t's columns of the block lie at t * x_step
  std::int64_t x_step = 0;
  int tokens = 0;
  float* sums = nullptr;  ///< [panels][tokens][16], panels sums_step apart
  std::int64_t sums_step = 0;
  bool first = false;  ///< sums start at 0
};

}  // namespace coppice::cpu
