// What `coppice plan` knows of every layer: predicted and measured times of dense and of patterns.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "coppice/checkpoint.h"
#include "coppice/linear.h"
#include "cuda/model/gpu.h"

namespace coppice::cli {

/// A product whose times are wanted.
struct PlanProduct {
  WeightShape shape;
  std::int64_t tokens = 1;
  Dtype dtype = Dtype::f16;
  Layout layout = Layout::token_major;
};

/// Dense, or a candidate pattern.
struct PlanTime {
  Pattern pattern;
  double predicted = 0, measured = 0;  ///< seconds; 0: none
  std::string kernel;                  ///< the one that is chosen
  std::string limit;                   ///< what the prediction is bound by

  double seconds() const { return measured > 0 ? measured : predicted; }
};

/// Layers of one shape.
struct PlanGroup {
  WeightShape shape;
  std::vector<std::string> layers;
  PlanTime dense;
  std::vector<PlanTime> patterns;  ///< in the order asked for
  int chosen = -1;                 ///< of `patterns`; -1: dense
  std::string why;

  const PlanTime& choice() const {
    return chosen < 0 ? dense : patterns[static_cast<std::size_t>(chosen)];
  }
  double speedup(const PlanTime& time) const { return dense.seconds() / time.seconds(); }
};

/// Layers of equal shapes together, in the order of the checkpoint.
std::vector<PlanGroup> plan_groups(std::span<const LinearWeight> weights);

/// The model's times. Patterns that GPUs do not multiply by in this dtype, or not in this shape,
/// are left out: a reason for each is added to `notes`, once.
void predict_times(PlanGroup& group, const PlanProduct& product, std::span<const Pattern> patterns,
                   const cuda::model::Gpu& gpu, std::vector<std::string>& notes);

/// Without `speedup` the fastest pattern. With it the most diverse one (mask_diversity) that is so
/// many times as fast as dense; where none is, the fastest. Dense where nothing is faster.
void choose_pattern(PlanGroup& group, double speedup);

/// The lines of a file of speeds (pattern_choice.h), which `coppice prune --speeds` reads.
std::vector<std::string> speed_lines(std::span<const PlanGroup> groups, const PlanProduct& product,
                                     const cuda::model::Gpu& gpu);

}  // namespace coppice::cli
