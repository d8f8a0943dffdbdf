#include "prune/second_order/admm_rows.h"

#include "coppice/cancel.h"

namespace coppice::prune {

AdmmRows::AdmmRows(const UpdateProblem& problem, const ScaledSystem& system,
                   std::span<const RowVector> vectors)
    : system_(system),
      support_(problem.grid, vectors, problem.columns),
      first_(vectors.front().row),
      rows_(vectors.back().row + vectors.back().rows - first_),
      cols_(problem.grid.cols()),
      start_(system.scale(problem.weights, first_, rows_)) {}

int AdmmRows::iterate(const AdmmOptions& options) {
  std::vector<float> target(start_.size()), dual(start_.size()), product(start_.size());
  multiply(1.0f, panel(start_), system_.matrix(), 0.0f, mutable_panel(target));
  weights_ = start_;
  std::vector<std::uint8_t> last;
  double penalty = options.penalty;
  for (int i = 1; i <= options.iterations; ++i) {
    step(target, static_cast<float>(penalty), dual, product);
    if (i % kPenaltyPeriod != 0) continue;
    throw_if_cancelled();
    const std::int64_t moved = last.empty() ? std::ssize(start_) : support_.distance(last);
    if (moved == 0) return i;
    penalty *= penalty_growth(moved, support_.count());
    last = support_.bits();
  }
  return options.iterations;
}

void AdmmRows::load(const Candidate& from) {
  weights_ = system_.scale(from.weights, first_, rows_);
  support_.load(from.mask);
}

void AdmmRows::refine(int steps) {
  std::vector<float> residual(start_.size()), direction, product(start_.size());
  for (std::size_t i = 0; i < start_.size(); ++i) product[i] = start_[i] - weights_[i];
  multiply(1.0f, panel(product), system_.matrix(), 0.0f, mutable_panel(residual));
  support_.clear_rest(residual);
  direction = residual;
  std::vector<double> norms(static_cast<std::size_t>(rows_));
  for (std::int64_t r = 0; r < rows_; ++r)
    norms[static_cast<std::size_t>(r)] = dot(residual, residual, r);
  for (int i = 0; i < steps; ++i) {
    multiply(1.0f, panel(direction), system_.matrix(), 0.0f, mutable_panel(product));
    support_.clear_rest(product);
    for (std::int64_t r = 0; r < rows_; ++r)
      advance(r, norms[static_cast<std::size_t>(r)], residual, direction, product);
  }
}

void AdmmRows::store(Candidate& to) const {
  system_.unscale(weights_, to.weights, first_, rows_);
  support_.store(to.mask);
}

double AdmmRows::dot(const std::vector<float>& a, const std::vector<float>& b,
                     std::int64_t row) const {
  double sum = 0;
  for (std::int64_t i = row * cols_; i < (row + 1) * cols_; ++i)
    sum += static_cast<double>(a[static_cast<std::size_t>(i)]) *
           static_cast<double>(b[static_cast<std::size_t>(i)]);
  return sum;
}

// W = (W0 H + rho D - V)(H + rho)^-1, D = projection of W + V / rho, V += rho (W - D).
void AdmmRows::step(const std::vector<float>& target, float penalty, std::vector<float>& dual,
                    std::vector<float>& product) {
  for (std::size_t i = 0; i < product.size(); ++i)
    product[i] = target[i] + penalty * weights_[i] - dual[i];
  system_.solve(penalty, mutable_panel(product));
  for (std::size_t i = 0; i < product.size(); ++i) weights_[i] = product[i] + dual[i] / penalty;
  support_.choose(weights_);
  support_.clear_rest(weights_);
  for (std::size_t i = 0; i < product.size(); ++i) dual[i] += penalty * (product[i] - weights_[i]);
}

// One step of one row; norm: of its residual, squared.
void AdmmRows::advance(std::int64_t row, double& norm, std::vector<float>& residual,
                       std::vector<float>& direction, const std::vector<float>& product) {
  const double curvature = dot(direction, product, row);
  if (!(curvature > 0) || !(norm > 0)) return;
  const auto length = static_cast<float>(norm / curvature);
  const std::int64_t begin = row * cols_, end = begin + cols_;
  for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
    weights_[i] += length * direction[i];
    residual[i] -= length * product[i];
  }
  const double next = dot(residual, residual, row);
  const auto keep = static_cast<float>(next / norm);
  for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
    direction[i] = residual[i] + keep * direction[i];
  norm = next;
}

}  // namespace coppice::prune
