// A group's mask from the cost of its weights one by one. Not part of the public API.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/pattern.h"
#include "coppice/prune.h"
#include "prune/second_order/group_slab.h"

namespace coppice::prune {

/// Keeps what the pattern's ordinary choice keeps of the scores `factors[c] * w²`.
/// @param scratch  grows as needed
/// @returns vectors whose columns are not proven to be the best
std::int64_t choose_by_saliency(const GroupSlab& slab, const Pattern& pattern, ColumnSearch search,
                                std::span<const double> factors, std::vector<float>& scratch);

}  // namespace coppice::prune
