#include "prune/second_order/scaled_system.h"

#include <algorithm>
#include <cmath>

#include "prune/second_order/inverse_factor.h"

namespace coppice::prune {

ScaledSystem::ScaledSystem(const UpdateProblem& problem, double damping)
    : gram_(problem.gram), damping_(damping), cols_(problem.gram.cols) {
  const std::vector<double> h = scaled_gram(units_);
  matrix_.assign(h.begin(), h.end());
  const double largest = problem.largest > 0 ? problem.largest : 1;
  for (double& unit : units_) unit /= largest;
}

std::vector<double> ScaledSystem::scaled_gram(std::vector<double>& units) const {
  std::vector<double> h = damped_gram(gram_, damping_);
  const auto n = static_cast<std::size_t>(cols_);
  for (std::size_t i = 0; i < n; ++i) units.push_back(std::sqrt(h[i * n + i]));
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = i; j < n; ++j) {
      h[i * n + j] /= units[i] * units[j];
      h[j * n + i] = h[i * n + j];
    }
  return h;
}

bool ScaledSystem::decompose() {
  std::vector<double> units, values;
  std::vector<double> h = scaled_gram(units);
  if (!eigenvectors(h.data(), cols_, values)) return false;
  vectors_.assign(h.begin(), h.end());
  for (double value : values) eigenvalues_.push_back(static_cast<float>(std::max(value, 0.0)));
  return true;
}

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

}  // namespace coppice::prune
