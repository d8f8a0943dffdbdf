// Which columns of x the look-ups of the product in bf16 reach. Plain host code, the same on every
// target.
//
// A look-up takes two numbers for each of 16 rows out of 32 neighbouring columns of x. So the slots
// of a panel (packed_weight.h) are cut into windows: neighbouring slots whose weights all lie
// within 32 columns. Where rows choose for themselves, a window holds whole groups.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/packed_weight.h"

namespace coppice::cpu {

inline constexpr int kLookupCols = 32;  ///< that a look-up reaches
/// Most pairs of a block: those of a panel take 16 KB.
inline constexpr int kLookupBlockPairs = 64;
/// Columns of x that blocks read: 256 tokens of them stay in L2.
inline constexpr int kLookupBlockCols = 512;

/// Neighbouring slots.
struct LookupWindow {
  std::int32_t column = 0;  ///< where it starts, in columns of its block of x
  std::int32_t slots = 0;

  int pairs() const { return (slots + 1) / 2; }
};

/// Neighbouring windows that start in the same kLookupBlockCols columns.
struct LookupBlock {
  std::int64_t x_block = 0;  ///< which columns
  std::int64_t slot = 0;     ///< the first one
  std::int64_t window = 0;   ///< the first one
  int windows = 0;
  int pairs = 0;
};

struct LookupPlan {
  std::vector<LookupWindow> windows;
  std::vector<LookupBlock> blocks;
};

/// Whether every group fits a window: groups of up to 32 columns, or a choice that rows share.
bool lookup_supports(const PackedWeight::Impl& weight);

/// Whether each list has a plan of its own: groups of more than 32 columns that rows share.
bool plan_needs_columns(const PackedLayout& layout);

/// @param columns  where plan_needs_columns: [x_length], ascending, what a list's positions stand
///                 for in the order of the grid
LookupPlan lookup_plan(const PackedLayout& layout, std::span<const std::uint16_t> columns = {});

}  // namespace coppice::cpu
