// The table (or JSON) that a pruning run ends in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "console.h"
#include "coppice/checkpoint.h"
#include "coppice/permutation.h"
#include "coppice/prune.h"
#include "layer_timing.h"
#include "scoring.h"

namespace coppice::cli {

struct PrunedLayer {
  LinearWeight weight;
  Pattern pattern;
  std::string scored_by = "magnitude";
  double total_score = 0, kept_score = 0;     ///< of magnitudes, whatever the method
  std::optional<double> kept_of_scores = {};  ///< share kept of the method's scores
  LayerErrors errors = {};
  std::int64_t blocks = 0, unproven_blocks = 0;  ///< column choices of V:N:M
  double seconds = 0;                            ///< to prune it
  std::string note = {};               ///< what was done beyond the usual, in a line; often empty
  Permutation input_permutation = {};  ///< the order of columns that is stored; often empty
  std::optional<double> order_gain = {};  ///< share of the scores that it keeps; if looked for
  std::int64_t dense_bytes = 0, packed_bytes = 0;
  std::vector<LayerTime> times = {};

  double kept() const { return total_score > 0 ? kept_score / total_score : 1; }
  /// @param result whose scores are the magnitudes
  void set_scores(const MaskResult& result);
};

struct PruneReport {
  std::string input, output, method;
  std::vector<PrunedLayer> layers;
  std::int64_t blocks = 0, unproven_blocks = 0;  ///< column choices of V:N:M
  WriteReport written;
  bool packed = false;                           ///< written in the packed form
  bool permuted = false;                         ///< orders of columns were looked for
  bool has_error = false, has_held_out = false;  ///< statistics were given
  double seconds = 0;                            ///< reading, pruning and writing

  /// Layers come in the order of the table.
  void add(PrunedLayer layer);
  std::string text(const LayerTimer& timer) const;
  Json json(const LayerTimer& timer) const;

 private:
  bool scores_shown() const { return method != "magnitude"; }
  std::vector<std::string> score_titles() const;
  std::vector<std::string> score_cells(const PrunedLayer& layer) const;
  std::string notes() const;
};

}  // namespace coppice::cli
