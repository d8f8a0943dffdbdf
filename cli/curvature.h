// What methods that move weights know of a layer, beyond its weights.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "coppice/permutation.h"
#include "coppice/statistics.h"

namespace coppice::cli {

/// A Gram matrix of the inputs or Fisher blocks of the weights: only one of these is there.
struct Curvature {
  std::shared_ptr<const InputStatistics> input = {};
  std::vector<double> gathered_gram = {};
  FisherStatistics fisher = {};

  /// Empty if there are Fisher blocks.
  std::span<const double> gram() const { return input != nullptr ? input->gram : gathered_gram; }

  /// Scores by which an order of columns is looked for.
  std::vector<float> scores(const DenseView& weights, double damping, int threads) const;

  /// The same for columns in another order.
  Curvature gathered(const Permutation& columns, int threads) const;
};

}  // namespace coppice::cli
