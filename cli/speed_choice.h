// Patterns for a wanted speedup (`coppice prune --speedup`), from a file of measured speeds.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "console.h"
#include "coppice/checkpoint.h"

namespace CLI {
class App;
}

namespace coppice::cli {

struct SpeedOptions {
  std::optional<double> speedup;
  std::string speeds;
  std::optional<std::int64_t> tokens;
};

/// Adds --speedup, --speeds and --speed-tokens.
void add_speed(CLI::App& app, SpeedOptions& options);

struct ChosenPattern {
  LinearWeight weight;
  Pattern pattern;
  double speedup = 1, diversity = 0;
  double lost = 0;  ///< share of the squared scores that pruning by it loses
  std::string why;
};

struct SpeedChoice {
  std::vector<ChosenPattern> layers;
  double wanted = 1, speedup = 1;  ///< of all layers together
  std::int64_t tokens = 1;
  bool timed = false;  ///< layers count by the time of their dense product, else by their size

  std::string text() const;
  Json json() const;
};

struct LossOptions {
  std::string stats;  ///< weighs weights by their inputs; may be empty
  bool allow_nonfinite = false;
  int threads = 1;
};

/// Of each layer's measured patterns that are faster than dense, those of which no other is as fast
/// and as diverse; of these the choice that loses least of the squared scores, summed over the
/// layers, while all layers together are `speedup` times as fast as dense. Throws UsageError,
/// FileError, InvalidArgument (nothing measured for a shape; the speedup cannot be reached), or
/// Cancelled.
SpeedChoice choose_for_speed(const SpeedOptions& options, const Checkpoint& input,
                             std::span<const LinearWeight> weights, const LossOptions& loss);

}  // namespace coppice::cli
