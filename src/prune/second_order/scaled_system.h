// A damped Gram matrix scaled to a diagonal of ones, and its eigenvectors where they are asked for.
// Not part of the public API.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "prune/second_order/candidate.h"
#include "prune/second_order/lapack.h"

namespace coppice::prune {

/// H_ij / (s_i s_j), s_j = sqrt(H_jj), of H as in InverseFactor. Weights in its units are
/// w_j s_j / (the largest of all): what they add to the output alone.
class ScaledSystem {
 public:
  /// @param problem outlives it; @param damping one that made H positive
  ScaledSystem(const UpdateProblem& problem, double damping);

  /// Finds the eigenvectors, which `solve` needs. @returns false if they cannot be found
  bool decompose();

  Panel<const float> matrix() const { return {matrix_.data(), cols_, cols_, cols_}; }

  /// Rows of a weight in the units of the system, and back.
  std::vector<float> scale(std::span<const float> weights, std::int64_t first_row,
                           std::int64_t rows) const;
  void unscale(const std::vector<float>& scaled, std::span<float> weights, std::int64_t first_row,
               std::int64_t rows) const;

  /// rows (H + penalty)⁻¹, in place.
  void solve(float penalty, const Panel<float>& rows) const;

 private:
  std::vector<double> scaled_gram(std::vector<double>& units) const;

  GramView gram_;
  double damping_;
  std::int64_t cols_;
  std::vector<double> units_;       // [cols]
  std::vector<float> matrix_;       // [cols, cols]
  std::vector<float> vectors_;      // [cols, cols], an eigenvector in each row
  std::vector<float> eigenvalues_;  // [cols]
};

}  // namespace coppice::prune
