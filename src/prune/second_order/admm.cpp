// ADMM for layer-wise pruning, then conjugate gradients on the support that it found
// (docs/second_order.md; after ALPS, Meng et al. 2024, algorithms 1 and 2).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "coppice/cancel.h"
#include "coppice/error.h"
#include "core/parallel_for.h"
#include "prune/second_order/lapack.h"
#include "prune/second_order/obs.h"
#include "prune/second_order/row_errors.h"
#include "prune/second_order/scaled_system.h"
#include "prune/second_order/support.h"

namespace coppice {
namespace {

using prune::Candidate;
using prune::Panel;
using prune::ScaledSystem;
using prune::UpdateProblem;

// After so many iterations the penalty is looked at again.
constexpr int kPenaltyPeriod = 3;

// The more of the support moves, the faster the penalty may grow (ALPS, section 3.1).
double penalty_growth(std::int64_t moved, std::int64_t kept) {
  const double share = static_cast<double>(moved) / static_cast<double>(kept);
  return share >= 0.1 ? 1.3 : share >= 0.005 ? 1.2 : 1.1;
}

// Some rows, in the units of the scaled system; all matrices are [rows, cols].
class AdmmRows {
 public:
  AdmmRows(const UpdateProblem& problem, const ScaledSystem& system,
           std::span<const RowVector> vectors)
      : system_(system),
        support_(problem.grid, vectors, problem.columns),
        first_(vectors.front().row),
        rows_(vectors.back().row + vectors.back().rows - first_),
        cols_(problem.grid.cols()),
        start_(system.scale(problem.weights, first_, rows_)) {}

  /// @returns iterations taken
  int iterate(const AdmmOptions& options) {
    std::vector<float> target(start_.size()), dual(start_.size()), product(start_.size());
    prune::multiply(1.0f, panel(start_), system_.matrix(), 0.0f, mutable_panel(target));
    weights_ = start_;
    std::vector<std::uint8_t> last;
    double penalty = options.penalty;
    for (int i = 1; i <= options.iterations; ++i) {
      step(target, static_cast<float>(penalty), dual, product);
      if (i % kPenaltyPeriod != 0) continue;
      throw_if_cancelled();
      const std::int64_t moved = last.empty() ? std::ssize(start_) : support_.distance(last);
      if (moved == 0) return i;
      penalty *= penalty_growth(moved, std::max<std::int64_t>(support_.count(), 1));
      last = support_.bits();
    }
    return options.iterations;
  }

  /// Starts from pruned weights instead.
  void load(const Candidate& from) {
    weights_ = system_.scale(from.weights, first_, rows_);
    support_.load(from.mask);
  }

  /// For each row the best weights on its support, by conjugate gradients. The diagonal of the
  /// scaled system is 1, which makes them preconditioned.
  void refine(int steps) {
    std::vector<float> residual(start_.size()), direction, product(start_.size());
    for (std::size_t i = 0; i < start_.size(); ++i) product[i] = start_[i] - weights_[i];
    prune::multiply(1.0f, panel(product), system_.matrix(), 0.0f, mutable_panel(residual));
    support_.clear_rest(residual);
    direction = residual;
    std::vector<double> norms(static_cast<std::size_t>(rows_));
    for (std::int64_t r = 0; r < rows_; ++r)
      norms[static_cast<std::size_t>(r)] = dot(residual, residual, r);
    for (int i = 0; i < steps; ++i) {
      prune::multiply(1.0f, panel(direction), system_.matrix(), 0.0f, mutable_panel(product));
      support_.clear_rest(product);
      for (std::int64_t r = 0; r < rows_; ++r)
        advance(r, norms[static_cast<std::size_t>(r)], residual, direction, product);
    }
  }

  void store(Candidate& to) const {
    system_.unscale(weights_, to.weights, first_, rows_);
    support_.store(to.mask);
  }

 private:
  Panel<const float> panel(const std::vector<float>& m) const {
    return {m.data(), rows_, cols_, cols_};
  }
  Panel<float> mutable_panel(std::vector<float>& m) const {
    return {m.data(), rows_, cols_, cols_};
  }
  double dot(const std::vector<float>& a, const std::vector<float>& b, std::int64_t row) const {
    double sum = 0;
    for (std::int64_t i = row * cols_; i < (row + 1) * cols_; ++i)
      sum += static_cast<double>(a[static_cast<std::size_t>(i)]) *
             static_cast<double>(b[static_cast<std::size_t>(i)]);
    return sum;
  }

  // W = (W0 H + rho D - V)(H + rho)^-1, D = projection of W + V / rho, V += rho (W - D).
  void step(const std::vector<float>& target, float penalty, std::vector<float>& dual,
            std::vector<float>& product) {
    for (std::size_t i = 0; i < product.size(); ++i)
      product[i] = target[i] + penalty * weights_[i] - dual[i];
    system_.solve(penalty, mutable_panel(product));
    for (std::size_t i = 0; i < product.size(); ++i) weights_[i] = product[i] + dual[i] / penalty;
    support_.choose(weights_);
    support_.clear_rest(weights_);
    for (std::size_t i = 0; i < product.size(); ++i)
      dual[i] += penalty * (product[i] - weights_[i]);
  }

  // One step of one row; norm: of its residual, squared.
  void advance(std::int64_t row, double& norm, std::vector<float>& residual,
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

  const ScaledSystem& system_;
  prune::Support support_;
  std::int64_t first_, rows_, cols_;
  std::vector<float> start_, weights_;  // W0, D
};

Candidate empty_candidate(const UpdateProblem& problem) {
  return {std::vector<float>(problem.weights.size()),
          Mask(problem.grid.rows(), problem.grid.cols()),
          {}};
}

void measure(const UpdateProblem& problem, Candidate& candidate) {
  candidate.errors = prune::squared_outputs(problem.weights.data(), candidate.weights.data(),
                                            problem.grid.rows(), problem.gram, problem.threads);
}

// Both supports, OBS's and ADMM's, refined; for each vector the better one.
Candidate run(const UpdateProblem& problem, const ScaledSystem& system, const Candidate& obs,
              const AdmmOptions& options, UpdateResult& result) {
  Candidate refined = empty_candidate(problem), found = empty_candidate(problem);
  const auto parts = prune::split_vectors(problem.grid);
  std::vector<int> iterations(parts.size());
  parallel_for(std::ssize(parts), problem.threads, [&](std::int64_t i) {
    const auto part = static_cast<std::size_t>(i);
    AdmmRows rows(problem, system, parts[part]);
    rows.load(obs);
    rows.refine(options.refinements);
    rows.store(refined);
    iterations[part] = rows.iterate(options);
    rows.refine(options.refinements);
    rows.store(found);
  });
  measure(problem, refined);
  measure(problem, found);
  prune::take_better(refined, obs, problem.grid);
  result.admm_rows = prune::take_better(refined, found, problem.grid);
  result.iterations = *std::ranges::max_element(iterations);
  return refined;
}

void check_options(const AdmmOptions& options) {
  prune::check_damping(options.damping);
  if (!std::isfinite(options.penalty) || !(options.penalty > 0))
    throw InvalidArgument(
        fmt::format("the penalty is {}, needs to be more than 0", options.penalty));
  if (options.iterations < 1 || options.refinements < 0)
    throw InvalidArgument(
        fmt::format("{} iterations and {} refinements: at least 1 and 0 are needed",
                    options.iterations, options.refinements));
}

}  // namespace

UpdateResult admm_prune(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                        const Pattern& pattern, std::span<const double> gram,
                        const AdmmOptions& options) {
  check_options(options);
  const UpdateProblem problem(
      weights, Grid(pattern, {rows, cols, options.row_segments, options.col_segments}), gram,
      options.columns, options.threads);
  UpdateResult result;
  result.mask = Mask(rows, cols);
  if (weights.empty()) return result;

  Candidate magnitude = prune::magnitude_candidate(problem);
  auto factor = prune::factorise_inverse(problem.gram, options.damping);
  if (!factor) {
    prune::keep_magnitude(problem, std::move(magnitude), weights, result);
    return result;
  }
  prune::describe_factor(*factor, options.damping, result);
  const ObsOptions obs_options{.columns = options.columns, .threads = options.threads};
  Candidate best = prune::obs_candidate(problem, *factor, obs_options, result.unproven_blocks);
  factor.reset();
  if (const auto system = prune::make_scaled_system(problem, result.damping))
    best = run(problem, *system, best, options, result);
  else
    prune::add_note(result.note, "no eigenvalues of the Gram matrix: OBS only");
  prune::finish(problem, std::move(best), magnitude, weights, result);
  return result;
}

}  // namespace coppice
