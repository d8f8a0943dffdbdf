// Which columns a V:N:M block keeps. Not part of the public API.
#pragma once

#include <cstdint>
#include <vector>

#include "coppice/prune.h"
#include "prune/block_scores.h"

namespace coppice::prune {

/// A set of columns, ascending, and its score.
struct ColumnSet {
  std::vector<std::uint8_t> columns;
  double score = 0;
  bool proven = false;  ///< no set has a larger score, and no set of equal score comes before it
};

/// The columns with the largest sums, of equal ones the lower (Beyond 2:4, section 4).
ColumnSet greedy_columns(const BlockScores& block);

/// Exchanges one column for one outside while that gains, the best exchange first. The score does
/// not become less.
void improve_by_swaps(const BlockScores& block, ColumnSet& set);

/// The columns of a block by the given kind of search.
ColumnSet choose_columns(const BlockScores& block, ColumnSearch search);

}  // namespace coppice::prune
