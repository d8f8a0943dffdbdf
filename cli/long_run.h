// Pruning that takes long: layers side by side, each into a journal when it is finished.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "coppice/checkpoint.h"
#include "layer_pruner.h"
#include "prune_journal.h"

namespace coppice::cli {

/// What the layers that are worked on have together.
struct LongRunLimits {
  int threads = 1;
  std::uint64_t bytes = 0;
};

/// Finds a weight that is NaN or infinite before the work, not hours into it. Throws
/// InvalidArgument naming it, FileError, or Cancelled.
void check_weights(const Checkpoint& input, std::span<const LinearWeight> weights, int threads);

/// Prunes the layers that the journal lacks, and says on stderr if it has some already.
/// @param patterns  by weight
void prune_into(PruneJournal& journal, const Checkpoint& input,
                std::span<const LinearWeight> weights,
                const std::map<std::string, Pattern>& patterns, const LayerPruner& pruner,
                const LongRunLimits& limits);

}  // namespace coppice::cli
