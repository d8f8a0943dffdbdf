#include "coppice/structure_decay.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "coppice/error.h"

namespace coppice {
namespace {

constexpr int kMostSteps = 8;  // by default: as many as the published schedule of V:2:16 has

// The target with N of M weights (or blocks) kept.
Pattern with_kept(const Pattern& target, int kept) {
  if (!target.has_inner())
    return Pattern::make(target.vec_rows, target.block_cols, kept, target.group);
  const int columns = std::clamp((4 * kept + 2) / 3, target.kept, target.group);
  return Pattern::make(target.vec_rows, target.block_cols, columns, target.group, kept);
}

void check(const Pattern& target, const DecayOptions& options) {
  if (target.is_dense())
    throw InvalidArgument("structure decay leads to a sparse pattern, 'dense' is none");
  if (!(options.first_density > 0) || options.first_density > 1)
    throw InvalidArgument(fmt::format("the first density is {}, needs to be above 0 and at most 1",
                                      options.first_density));
  if (options.steps < 0 || options.first_epoch < 0 || options.epochs < 0)
    throw InvalidArgument(fmt::format("{} steps from epoch {} every {}: none may be negative",
                                      options.steps, options.first_epoch, options.epochs));
}

}  // namespace

std::vector<DecayStep> structure_decay(const Pattern& target, const DecayOptions& options) {
  check(target, options);
  const int last = target.has_inner() ? target.inner_kept : target.kept;
  const int first = std::clamp(static_cast<int>(std::lround(options.first_density * target.group)),
                               last, target.group - 1);
  const int steps = options.steps > 0 ? std::min(options.steps, first - last + 1)
                                      : std::min(kMostSteps, first - last + 1);
  std::vector<DecayStep> list;
  for (int i = 0; i < steps; ++i) {
    const double share = steps > 1 ? static_cast<double>(i) / (steps - 1) : 1;
    const int kept = static_cast<int>(std::lround(first + (last - first) * share));
    const Pattern pattern = i + 1 == steps ? target : with_kept(target, kept);
    const std::int64_t epoch = options.first_epoch + std::ssize(list) * options.epochs;
    if (list.empty() || list.back().pattern != pattern) list.push_back({pattern, epoch});
  }
  return list;
}

}  // namespace coppice
