// What methods that move weights know of a layer, beyond its weights.
#pragma once

#include <span>
#include <vector>

#include "coppice/permutation.h"
#include "coppice/statistics.h"

namespace coppice::cli {

/// A Gram matrix of the inputs or Fisher blocks of the weights; the other one is empty.
struct Curvature {
  std::span<const double> gram;
  FisherStatistics fisher = {};
  std::vector<double> own_gram = {};  ///< what `gram` looks at, where it was gathered

  Curvature() = default;
  Curvature(Curvature&&) = default;  // a copy's `gram` would look at the original
  Curvature& operator=(Curvature&&) = default;

  /// Scores by which an order of columns is looked for.
  std::vector<float> scores(const DenseView& weights, double damping, int threads) const;

  /// The same for columns in another order.
  Curvature gathered(const Permutation& columns, int threads) const;
};

}  // namespace coppice::cli
