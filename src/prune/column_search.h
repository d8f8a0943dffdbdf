// Which columns a V:N:M block keeps. Not part of the public API.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "coppice/prune.h"
#include "prune/block_scores.h"
#include "prune/exact_search.h"

namespace coppice::prune {

/// Chooses the columns of one block after another.
class ColumnChooser {
 public:
  /// For blocks of up to this size.
  ColumnChooser(const BlockShape& largest, ColumnSearch search);

  /// @param keys [cols, pitch]
  /// @returns valid until the next call
  const ColumnSet& choose(const std::int32_t* keys, const BlockShape& shape);

 private:
  struct Swap {
    std::int32_t score = 0;
    std::uint8_t out = 0, in = 0;
  };

  void take_largest_columns();
  void improve_by_swaps();
  Swap best_swap();
  bool reaches_bound() const { return set_.score == block_.bound(); }

  ColumnSearch search_;
  BlockScores block_;
  ColumnSet set_, swapped_;
  AlignedInts list_;
  std::unique_ptr<ExactSearch> exact_;  // only where the search may be exact
};

}  // namespace coppice::prune
