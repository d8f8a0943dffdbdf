// Every mask that a pattern allows in a group.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "coppice/grid.h"

namespace coppice::testing {

// All legal masks of a vector in a group: for each set of blocks, the sets of columns a row keeps.
inline std::vector<std::vector<std::uint64_t>> legal_masks(const ColumnGroup& group) {
  std::vector<std::vector<std::uint64_t>> outer;
  for (std::uint64_t blocks = 0; blocks < std::uint64_t{1} << group.blocks; ++blocks) {
    if (std::popcount(blocks) != group.kept_blocks) continue;
    std::uint64_t live = 0;
    for (int c = 0; c < group.cols; ++c) live |= (blocks >> (c / group.block_cols) & 1) << c;
    std::vector<std::uint64_t> inner;
    for (std::uint64_t set = 0; set < std::uint64_t{1} << group.cols; ++set)
      if ((set & ~live) == 0 && std::popcount(set) == group.kept) inner.push_back(set);
    outer.push_back(inner);
  }
  return outer;
}

inline std::vector<std::int64_t> pruned_columns(std::uint64_t kept, int cols) {
  std::vector<std::int64_t> pruned;
  for (int c = 0; c < cols; ++c)
    if ((kept >> c & 1) == 0) pruned.push_back(c);
  return pruned;
}

}  // namespace coppice::testing
