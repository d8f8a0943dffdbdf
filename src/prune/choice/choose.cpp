#include <fmt/format.h>

#include <algorithm>

#include "coppice/error.h"
#include "coppice/pattern_choice.h"

namespace coppice {

std::vector<PatternCandidate> undominated(std::span<const PatternCandidate> candidates) {
  std::vector<PatternCandidate> sorted(candidates.begin(), candidates.end());
  std::ranges::stable_sort(sorted, [](const PatternCandidate& a, const PatternCandidate& b) {
    return a.diversity != b.diversity ? a.diversity > b.diversity : a.speedup > b.speedup;
  });
  std::vector<PatternCandidate> kept;
  for (const PatternCandidate& candidate : sorted)
    if (kept.empty() || candidate.speedup > kept.back().speedup) kept.push_back(candidate);
  return kept;
}

std::vector<PatternCandidate> measured_patterns(const SpeedTable& speeds, std::int64_t rows,
                                                std::int64_t cols, std::int64_t tokens) {
  std::vector<PatternCandidate> candidates;
  for (const MeasuredSpeed& entry : speeds.entries())
    if (entry.rows == rows && entry.cols == cols && entry.tokens == tokens &&
        !entry.pattern.is_dense())
      candidates.push_back(
          {entry.pattern, entry.speedup, mask_diversity(entry.pattern), entry.dense_seconds});
  if (candidates.empty())
    throw InvalidArgument(fmt::format(
        "no speed was measured for {} x {} with {} tokens; measure it with `coppice bench`", rows,
        cols, tokens));
  return candidates;
}

PatternCandidate choose_pattern(const SpeedTable& speeds, std::int64_t rows, std::int64_t cols,
                                std::int64_t tokens, double speedup) {
  const std::vector<PatternCandidate> candidates = measured_patterns(speeds, rows, cols, tokens);
  if (speedup <= 1) return {Pattern{}, 1, mask_diversity(Pattern{}), 0};
  const std::vector<PatternCandidate> front = undominated(candidates);
  for (const PatternCandidate& candidate : front)
    if (candidate.speedup >= speedup) return candidate;
  throw InvalidArgument(fmt::format(
      "no pattern is {:.3g} times as fast as dense on {} x {} with {} tokens; the fastest is {} "
      "with {:.3g}",
      speedup, rows, cols, tokens, front.back().pattern.to_string(), front.back().speedup));
}

}  // namespace coppice
