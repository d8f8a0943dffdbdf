#include "prune/second_order/obs.h"

#include <fmt/format.h>

#include <numeric>
#include <utility>

#include "coppice/cancel.h"
#include "coppice/error.h"
#include "core/parallel_for.h"
#include "prune/second_order/obs_sweep.h"
#include "prune/second_order/row_errors.h"

namespace coppice {
namespace prune {

Candidate obs_candidate(const UpdateProblem& problem, const InverseFactor& factor,
                        const ObsOptions& options, std::int64_t& unproven) {
  const Grid& grid = problem.grid;
  Candidate candidate{
      {problem.weights.begin(), problem.weights.end()}, Mask(grid.rows(), grid.cols()), {}};
  const ObsSweep sweep(grid, factor, options, problem.largest);
  const auto parts = split_vectors(grid);
  std::vector<std::int64_t> unproven_parts(parts.size());
  parallel_for(std::ssize(parts), problem.threads, [&](std::int64_t i) {
    throw_if_cancelled();
    const auto part = static_cast<std::size_t>(i);
    unproven_parts[part] = sweep.run(parts[part], candidate.weights.data(), candidate.mask);
  });
  unproven = std::accumulate(unproven_parts.begin(), unproven_parts.end(), std::int64_t{0});
  candidate.errors = squared_outputs(problem.weights.data(), candidate.weights.data(), grid.rows(),
                                     problem.gram, problem.threads);
  return candidate;
}

void describe_factor(const InverseFactor& factor, double damping, UpdateResult& result) {
  result.damping = factor.damping;
  result.dead_columns = factor.dead;
  if (factor.dead > 0) add_note(result.note, fmt::format("{} inputs always zero", factor.dead));
  if (factor.damping != damping)
    add_note(result.note, fmt::format("damping raised to {:g}", factor.damping));
}

void keep_magnitude(const UpdateProblem& problem, Candidate magnitude, std::span<float> weights,
                    UpdateResult& result) {
  result.note = "no factorisation of the Gram matrix: pruned by magnitude";
  finish(problem, magnitude, magnitude, weights, result);
  result.magnitude_rows = problem.grid.rows();
}

}  // namespace prune

UpdateResult obs_prune(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                       const Pattern& pattern, std::span<const double> gram,
                       const ObsOptions& options) {
  prune::check_damping(options.damping);
  if (options.block < 1)
    throw InvalidArgument(
        fmt::format("the block is {} columns, needs to be 1 or more", options.block));
  const prune::UpdateProblem problem(
      weights, Grid(pattern, {rows, cols, options.row_segments, options.col_segments}), gram,
      options.columns, options.threads);
  UpdateResult result;
  result.mask = Mask(rows, cols);
  if (weights.empty()) return result;

  prune::Candidate magnitude = prune::magnitude_candidate(problem);
  const auto factor = prune::factorise_inverse(problem.gram, options.damping);
  if (!factor) {
    prune::keep_magnitude(problem, std::move(magnitude), weights, result);
    return result;
  }
  prune::describe_factor(*factor, options.damping, result);
  prune::Candidate best = prune::obs_candidate(problem, *factor, options, result.unproven_blocks);
  prune::finish(problem, std::move(best), magnitude, weights, result);
  return result;
}

}  // namespace coppice
