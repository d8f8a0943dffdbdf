// The best set of columns of a V:N:M block, by branch and bound. Not part of the public API.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "prune/block_scores.h"

namespace coppice::prune {

/// A set of columns, ascending, and its score.
struct ColumnSet {
  std::vector<std::uint8_t> columns;
  double score = 0;
  bool proven = false;  ///< no set has a larger score
};

/// Grows sets column by column, and leaves out what cannot reach the best set known.
///
/// All bounds are of one kind. Take any floor t for each row: of the N scores that a row keeps of a
/// set, each is t at most, plus what it has above t. So
///   score(set) <= N * sum of t + sum over columns of the set of (what the column has above t),
/// and the best completion of a set is found by sorting columns. With t between the N-th and the
/// N+1-th largest score that the rows have in the best set known, the bound is tight there and
/// prunes the first columns; with t the N-th largest of the set being grown, what a column has
/// above t is exactly what it adds.
class ExactSearch {
 public:
  /// For blocks of up to this size; reused for many blocks.
  explicit ExactSearch(const BlockShape& largest);

  /// Replaces `best`, which should be as good as can be had cheaply, by the set of largest score,
  /// of equal ones the one that comes first, and marks it proven. If more than `budget` sums over a
  /// column would be needed, leaves the best set met, not proven.
  void run(const BlockScores& block, ColumnSet& best, std::int64_t budget);

 private:
  /// Columns by falling gain, which a set may grow by.
  struct Candidates {
    std::span<const std::uint8_t> columns;
    std::span<const std::int32_t> gains;
  };
  /// What belongs to the set of so many columns that is being grown.
  struct Level {
    AlignedInts list, floor;
    std::array<std::uint8_t, 256> columns;
    std::array<std::int32_t, 256> gains;  // a multiple of four, as sums over columns come
  };

  Candidates bound_by_best();
  void visit(std::size_t depth, std::uint8_t added, const Candidates& candidates,
             std::int64_t score, std::int64_t bound);
  void visit_children(std::size_t depth, const Candidates& candidates, std::int64_t score,
                      std::int64_t bound);
  void consider(std::uint8_t last, std::int64_t score);
  void set_needed();

  std::vector<Level> levels_;  // by the number of columns in the set
  AlignedInts best_list_;      // [kept + 1, pitch]
  std::array<std::int32_t, 256> column_sums_;
  std::vector<std::uint8_t> grown_, leaf_;

  const BlockScores* block_ = nullptr;
  ColumnSet* best_ = nullptr;
  std::size_t kept_ = 0, kept_cols_ = 0;
  std::int64_t budget_ = 0;
  std::int64_t needed_ = 0;      // a set of less integer score cannot be better than the best
  std::int64_t root_bound_ = 0;  // what the rows keep below the root's floor, at most
};

}  // namespace coppice::prune
