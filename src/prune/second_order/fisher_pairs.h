// Choice among too many sets of weights to look at all of them. Not part of the public API.
#pragma once

#include <cstdint>
#include <vector>

#include "coppice/grid.h"
#include "prune/second_order/fisher_rows.h"

namespace coppice::prune {

/// Columns of a group that a row keeps.
using KeptColumns = std::vector<std::int32_t>;

/// For each row what it keeps of the group: blocks of columns are dropped two at a time, the pair
/// that costs least in all rows given those before (VENOM, section 5, pair-wise; there, neighbours
/// only), and exchanged for dropped ones while that saves more. Then each row does so with its own
/// weights in the blocks that are left.
std::vector<KeptColumns> choose_by_pairs(const ColumnGroup& group, const FisherRows& rows);

}  // namespace coppice::prune
