// Which weights of a group go, from what they cost by their Fisher blocks. Not part of the public
// API.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "coppice/mask.h"
#include "coppice/update.h"
#include "prune/second_order/fisher_pairs.h"
#include "prune/second_order/fisher_rows.h"
#include "prune/second_order/joint_choice.h"

namespace coppice::prune {

/// Chooses for all groups of a grid: every legal set is looked at (VENOM, section 5, exhaustive),
/// or things are dropped by pairs.
class FisherChoice {
 public:
  /// Throws InvalidArgument if the search is to be exhaustive and cannot be.
  FisherChoice(const Grid& grid, FisherSearch search);

  bool exhaustive(std::size_t group) const { return sets_[group] != nullptr; }

  /// Prunes the group in all rows, and sets the mask's bits of the weights that stay.
  void prune(std::size_t group, FisherRows& rows, std::int64_t first_row, Mask& mask) const;

 private:
  static std::vector<KeptColumns> by_sets(const ColumnGroup& group, const KeptSets& sets,
                                          const FisherRows& rows);

  const Grid& grid_;
  std::vector<std::shared_ptr<const KeptSets>> sets_;  // [groups], null: by pairs
};

}  // namespace coppice::prune
