// Orders of columns and rows that Fisher blocks can follow: what `find_input_permutation` and
// `fisher_prune` need in order to serve each other.
#pragma once

#include <optional>
#include <span>

#include "coppice/pattern.h"
#include "coppice/permutation.h"
#include "coppice/statistics.h"

namespace coppice {

/// The shape with its columns cut where blocks end: a permutation inside of these segments leaves
/// no block, and what blocks have to do with each other is not known. Nothing if a block ends
/// inside of one of the pattern's groups.
std::optional<WeightShape> cut_at_blocks(WeightShape shape, std::int64_t block,
                                         const Pattern& pattern);

/// The statistics of a weight of `cols` columns whose rows and columns were gathered by these
/// orders; an empty one leaves them where they are. Throws InvalidArgument if a column leaves its
/// block.
FisherStatistics gather_fisher(const FisherStatistics& fisher, std::int64_t cols,
                               std::span<const std::uint32_t> rows_order,
                               std::span<const std::uint32_t> cols_order, int threads = 1);

}  // namespace coppice
