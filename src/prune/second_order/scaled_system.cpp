#include "prune/second_order/scaled_system.h"

#include <algorithm>
#include <cmath>

#include "prune/second_order/inverse_factor.h"

namespace coppice::prune {

std::vector<float> ScaledSystem::scale(std::span<const float> weights, std::int64_t first_row,
                                       std::int64_t rows) const {
  std::vector<float> scaled(static_cast<std::size_t>(rows * cols_));
  const float* from = weights.data() + first_row * cols_;
  for (std::size_t i = 0; i < scaled.size(); ++i)
    scaled[i] = static_cast<float>(static_cast<double>(from[i]) *
                                   units_[i % static_cast<std::size_t>(cols_)]);
  return scaled;
}

void ScaledSystem::unscale(const std::vector<float>& scaled, std::span<float> weights,
                           std::int64_t first_row, std::int64_t rows) const {
  float* to = weights.data() + first_row * cols_;
  for (std::size_t i = 0; i < static_cast<std::size_t>(rows * cols_); ++i)
    to[i] = static_cast<float>(static_cast<double>(scaled[i]) /
                               units_[i % static_cast<std::size_t>(cols_)]);
}

void ScaledSystem::solve(float penalty, const Panel<float>& rows) const {
  std::vector<float> turned(static_cast<std::size_t>(rows.rows * cols_));
  const Panel<const float> vectors{vectors_.data(), cols_, cols_, cols_};
  const Panel<float> inner{turned.data(), rows.rows, cols_, cols_};
  multiply_transposed(1.0f, {rows.data, rows.rows, cols_, rows.stride}, vectors, 0.0f, inner);
  for (std::size_t i = 0; i < turned.size(); ++i)
    turned[i] /= eigenvalues_[i % static_cast<std::size_t>(cols_)] + penalty;
  multiply(1.0f, {turned.data(), rows.rows, cols_, cols_}, vectors, 0.0f, rows);
}

std::optional<ScaledSystem> make_scaled_system(const UpdateProblem& problem, double damping) {
  const GramView& gram = problem.gram;
  const std::int64_t n = gram.cols;
  std::vector<double> h = damped_gram(gram, damping);
  ScaledSystem system;
  system.cols_ = n;
  for (std::int64_t i = 0; i < n; ++i)
    system.units_.push_back(std::sqrt(h[static_cast<std::size_t>(i * n + i)]));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j) {
      double& value = h[static_cast<std::size_t>(i * n + j)];
      value /=
          system.units_[static_cast<std::size_t>(i)] * system.units_[static_cast<std::size_t>(j)];
      h[static_cast<std::size_t>(j * n + i)] = value;
    }
  system.matrix_.assign(h.begin(), h.end());
  std::vector<double> values;
  if (!eigenvectors(h.data(), n, values)) return std::nullopt;
  system.vectors_.assign(h.begin(), h.end());
  for (double value : values)
    system.eigenvalues_.push_back(static_cast<float>(std::max(value, 0.0)));
  const double largest = problem.largest > 0 ? problem.largest : 1;
  for (double& unit : system.units_) unit /= largest;
  return system;
}

}  // namespace coppice::prune
