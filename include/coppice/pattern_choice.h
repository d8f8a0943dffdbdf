// Which pattern a layer should get: mask diversity, choice under a wanted speed, and allocation of
// patterns to layers under a time budget.
//
//   auto speeds = coppice::SpeedTable::open("speeds.csv");
//   auto choice = coppice::choose_pattern(speeds, 4096, 4096, 512, 1.5);   // fastest enough,
//   freest
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/pattern.h"

namespace coppice {

/// ln of the number of masks that the pattern allows, per weight (Beyond 2:4, section 4, for V:N:M;
/// the same count for the others). It does not depend on the shape of a layer; 0 for dense.
///   V:N:M keeping C columns: [ln C(M, C) + V ln C(C, N)] / (V M)
///   others:                   ln C(M, N) / (vec_rows block_cols M)
double mask_diversity(const Pattern& pattern);

/// A measured speed: dense time over sparse time of one product.
struct MeasuredSpeed {
  Pattern pattern;
  std::int64_t rows = 0, cols = 0, tokens = 0;
  double speedup = 0;
  double dense_seconds = 0;  ///< of the dense product; 0: not measured
};

/// Measured speeds, from a CSV file whose first line names its columns: `pattern`, `rows`, `cols`,
/// `tokens` and `speedup` (or `ratio`), if it has it `baseline_us` (or `dense_us`), in any order;
/// others are ignored. What `coppice bench --csv` writes, on either device. `#` starts a comment
/// line; commas between quotes are text.
class SpeedTable {
 public:
  /// Throws FileError with the line and the fault.
  static SpeedTable open(const std::filesystem::path& path);
  /// The same from text. @param name what to call it in messages.
  static SpeedTable parse(std::string_view csv, const std::string& name = "<memory>");

  std::span<const MeasuredSpeed> entries() const { return entries_; }

 private:
  std::vector<MeasuredSpeed> entries_;
};

/// A pattern with what speaks for it.
struct PatternCandidate {
  Pattern pattern;
  double speedup = 0, diversity = 0;
  double dense_seconds = 0;  ///< of the dense product; 0: not measured
};

/// Those of which no other is at least as fast and at least as diverse, and better in one of both;
/// by falling diversity. Of equal ones the first stays.
std::vector<PatternCandidate> undominated(std::span<const PatternCandidate> candidates);

/// What was measured on a weight of this shape with so many tokens, dense left out. Throws
/// InvalidArgument if that is nothing.
std::vector<PatternCandidate> measured_patterns(const SpeedTable& speeds, std::int64_t rows,
                                                std::int64_t cols, std::int64_t tokens);

/// The most diverse pattern that was measured to be `speedup` times as fast as dense, or faster, on
/// a weight of this shape with so many tokens; of equals the fastest. Dense counts as 1. Throws
/// InvalidArgument if nothing was measured for the shape, or nothing is fast enough (with the
/// fastest that there is).
PatternCandidate choose_pattern(const SpeedTable& speeds, std::int64_t rows, std::int64_t cols,
                                std::int64_t tokens, double speedup);

/// What a pattern would cost one layer.
struct LayerOption {
  Pattern pattern;
  double time = 0;   ///< any unit
  double error = 0;  ///< such as the squared relative output error; summed over layers
};

struct Allocation {
  std::vector<std::size_t> choices;  ///< which option, layer by layer
  double time = 0, error = 0;
  double error_bound = 0;  ///< no allocation within the budget has a smaller error
};

/// One option for each layer, so that the sum of times is within `budget` and the sum of errors
/// small. Greedy: from the least error on, always the step that costs least error for the time it
/// saves, along the lower convex hull of each layer's options; what is left of the budget is then
/// given back. Errors and times: finite, not negative. Throws InvalidArgument if a layer has no
/// options, or even the fastest options exceed the budget.
Allocation allocate_patterns(std::span<const std::vector<LayerOption>> layers, double budget);

}  // namespace coppice
