// The table (or JSON) that a pruning run ends in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "console.h"
#include "coppice/checkpoint.h"
#include "coppice/prune.h"
#include "layer_timing.h"

namespace coppice::cli {

struct PrunedLayer {
  LinearWeight weight;
  Pattern pattern;
  double total_score = 0, kept_score = 0;
  std::int64_t dense_bytes = 0, packed_bytes = 0;
  std::vector<LayerTime> times;

  double kept() const { return total_score > 0 ? kept_score / total_score : 1; }
};

struct PruneReport {
  std::string input, output, method;
  std::vector<PrunedLayer> layers;
  std::int64_t blocks = 0, unproven_blocks = 0;  ///< column choices of V:N:M
  WriteReport written;
  bool packed = false;  ///< written in the packed form
  double seconds = 0;   ///< reading, pruning and writing

  void add(const LinearWeight& weight, const Pattern& pattern, const MaskResult& result);
  std::string text(const LayerTimer& timer) const;
  Json json(const LayerTimer& timer) const;
};

}  // namespace coppice::cli
