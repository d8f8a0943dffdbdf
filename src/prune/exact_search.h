// The best set of columns of a V:N:M block, by branch and bound. Not part of the public API.
#pragma once

#include <cstdint>
#include <vector>

#include "prune/column_search.h"

namespace coppice::prune {

/// Grows sets column by column. What a column adds to the score only shrinks as the set grows (the
/// score is submodular), so the score of a set plus the largest gains of single columns bounds
/// every set grown from it; whatever cannot reach the best set known is left out.
class ExactSearch {
 public:
  /// @param best a set to start from: the better, the faster
  /// @param budget how many gains may be computed before the search gives up
  ExactSearch(const BlockScores& block, ColumnSet& best, std::int64_t budget);

  /// Replaces `best` by the set of largest score, of equal ones the one that comes first, and marks
  /// it proven; or, if the budget does not suffice, by the best one met.
  void run();

 private:
  /// Everything about the set of `depth` columns that is being grown. Reused by its siblings.
  struct Level {
    std::vector<std::uint8_t> candidates;
    std::vector<std::int32_t> gains;    // by candidate
    std::vector<std::int64_t> ordered;  // candidates by falling gain
    AlignedInts list;
    std::int32_t last_sum = 0;  // of the list's last entry
  };

  void visit(std::size_t depth, std::int64_t score);
  void visit_children(std::size_t depth, std::int64_t score);
  void visit_leaf(std::int64_t score);
  bool compute_gains(std::size_t depth);
  std::int64_t largest_gains(const Level& level, std::size_t count) const;
  void set_needed();

  const BlockScores& block_;
  ColumnSet& best_;
  std::int64_t budget_;
  std::int64_t needed_ = 0;  // integer score that a set must reach to be looked at
  std::vector<Level> levels_;
  std::vector<std::int32_t> column_sums_;
  std::vector<std::uint8_t> grown_, leaf_;
  mutable std::vector<std::int32_t> top_;
};

}  // namespace coppice::prune
