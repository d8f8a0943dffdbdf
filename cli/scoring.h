// What `coppice prune` knows about a layer beyond its weights: statistics of its inputs, and scores
// from a file.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "coppice/checkpoint.h"
#include "coppice/score.h"
#include "coppice/statistics.h"

namespace coppice::cli {

struct ScoringOptions {
  std::string method = "magnitude", stats, held_out, scores, missing = "error";
};

/// Adds --method, --stats, --held-out, --scores and --missing-stats.
void add_scoring(CLI::App& app, ScoringOptions& options);

/// ||XW - XV|| / ||XW|| on the samples of each file; nothing without a Gram matrix of the input.
struct LayerErrors {
  std::optional<double> calibration, held_out;
};

class Scoring {
 public:
  /// Opens the files and looks for every weight in them. Throws UsageError (a method without its
  /// file), FileError, or InvalidArgument naming the first weight that is absent or does not fit.
  Scoring(const ScoringOptions& options, const Checkpoint& input,
          std::span<const LinearWeight> weights, int threads);

  /// How the weight is scored: the method, or "magnitude" where its statistics are missing.
  const std::string& method_of(const LinearWeight& weight) const;
  /// Scores `[rows, cols]` by that method, which is not magnitude. `dense` must be finite. Throws
  /// InvalidArgument or FileError naming the weight.
  std::vector<float> scores(const LinearWeight& weight, const DenseView& dense);

  /// True if `errors` has something to say about the weight.
  bool measures(const LinearWeight& weight) const;
  LayerErrors errors(const LinearWeight& weight, const DenseView& before, const DenseView& after);

  bool has_statistics() const { return stats_.has_value(); }
  bool has_held_out() const { return held_out_.has_value(); }

 private:
  // A statistics file, and the input read last: q, k and v share one.
  struct Source {
    StatisticsFile file;
    std::string read_name = {};
    InputStatistics read = {};

    const InputStatistics& of(const LinearWeight& weight, int threads);
    std::optional<double> error(const LinearWeight& weight, const DenseView& before,
                                const DenseView& after, int threads);
  };

  static Source open(const std::string& path, StatisticsSet set, const char* option);
  bool scorable(const LinearWeight& weight) const;
  std::vector<float> scores_from_file(const LinearWeight& weight) const;

  std::string method_, magnitude_ = "magnitude", missing_;
  int threads_ = 1;
  std::optional<Source> stats_, held_out_;
  std::optional<SafetensorsFile> scores_;
};

}  // namespace coppice::cli
