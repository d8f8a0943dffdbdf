// Structure decay: intermediate patterns on the way to a sparse one, for pruning between epochs of
// fine-tuning (VENOM, section 6).
//
//   for (const coppice::DecayStep& step : coppice::structure_decay(Pattern::parse("64:2:8")))
//     prune_before(step.epoch, step.pattern);        // 64:5/7:8, 64:4/6:8, 64:3:8, 64:2:8
#pragma once

#include <cstdint>
#include <vector>

#include "coppice/pattern.h"

namespace coppice {

struct DecayOptions {
  double first_density = 0.625;  ///< what the first step keeps, at most 1
  int steps = 0;                 ///< 0: one for each weight that a group loses, at most 8
  std::int64_t first_epoch = 2,
               epochs = 4;  ///< when the first step is, and after how many the next
};

struct DecayStep {
  Pattern pattern;
  std::int64_t epoch = 0;  ///< before which to prune to it
};

/// Patterns of falling density that end in `target`; groups and vectors are the target's, so that a
/// mask of any step can lose weights until it is one of the next. N falls in equal steps from
/// first_density * M. V:N:M keeps 4/3 N columns, rounded up, on the way, and never fewer than the
/// target: the rule is ours, and gives the published schedule of V:2:8 (7, 6, 4 and 4 columns). A
/// target that keeps more than first_density has itself as the only step; steps that would repeat a
/// pattern are left out.
/// Throws InvalidArgument for a dense target or options out of range.
std::vector<DecayStep> structure_decay(const Pattern& target, const DecayOptions& = {});

}  // namespace coppice
