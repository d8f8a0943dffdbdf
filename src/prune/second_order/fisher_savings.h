// What a row saves by keeping sets of columns that differ in one or two. Not part of the public
// API.
#pragma once

#include <span>
#include <vector>

#include "prune/second_order/fisher_curvature.h"
#include "prune/second_order/unit_exchange.h"

namespace coppice::prune {

/// Lists are columns of a row's group. One factor serves all sets of a call.
class FisherSavings {
 public:
  /// Adds to values[i] what the row saves by keeping `base` and candidates[i].
  void add(const GroupCurvature& row, const UnitList& base, const UnitList& candidates,
           std::span<double> values);

  /// Adds to values[p * candidates + i] what it saves by keeping `kept` with candidates[i] in the
  /// place of kept[p], for all p and i.
  void add_exchanges(const GroupCurvature& row, const UnitList& kept, const UnitList& candidates,
                     std::span<double> values);

 private:
  bool factorise(const GroupCurvature& row, const UnitList& base);
  void project(const GroupCurvature& row, const UnitList& kept, const UnitList& candidates);

  SmallSystem system_;
  std::vector<double> solution_, across_, projected_, curvature_, gradient_;
};

}  // namespace coppice::prune
