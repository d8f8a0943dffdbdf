// A damped Gram matrix scaled to a diagonal of ones, and its eigenvectors. Not part of the public
// API.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "prune/second_order/candidate.h"
#include "prune/second_order/lapack.h"

namespace coppice::prune {

/// H_ij / (s_i s_j), s_j = sqrt(H_jj), of H as in InverseFactor. Weights in its units are
/// w_j s_j / (the largest of all): what they add to the output alone.
class ScaledSystem {
 public:
  Panel<const float> matrix() const { return {matrix_.data(), cols_, cols_, cols_}; }

  /// Rows of a weight in the units of the system, and back.
  std::vector<float> scale(std::span<const float> weights, std::int64_t first_row,
                           std::int64_t rows) const;
  void unscale(const std::vector<float>& scaled, std::span<float> weights, std::int64_t first_row,
               std::int64_t rows) const;

  /// rows (H + penalty)⁻¹, in place.
  void solve(float penalty, const Panel<float>& rows) const;

 private:
  friend std::optional<ScaledSystem> make_scaled_system(const UpdateProblem&, double);

  std::int64_t cols_ = 0;
  std::vector<double> units_;       // [cols]
  std::vector<float> matrix_;       // [cols, cols]
  std::vector<float> vectors_;      // [cols, cols], an eigenvector in each row
  std::vector<float> eigenvalues_;  // [cols]
};

/// @param damping one that made H positive
/// @returns nothing if the eigenvalues cannot be found
std::optional<ScaledSystem> make_scaled_system(const UpdateProblem& problem, double damping);

}  // namespace coppice::prune
