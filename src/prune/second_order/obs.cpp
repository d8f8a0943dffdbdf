#include "prune/second_order/obs.h"

#include <fmt/format.h>

#include <utility>

#include "coppice/error.h"
#include "prune/second_order/inverse_factor.h"
#include "prune/second_order/obs_sweep.h"

namespace coppice {

UpdateEngine::~UpdateEngine() = default;

namespace prune {
namespace {

// factorise_inverse with the engine's attempts.
std::optional<InverseFactor> factorise_on(LayerEngine& engine, const GramView& gram,
                                          double damping) {
  return factorise_inverse(gram, damping,
                           [&engine](double mean, double used, std::vector<float>& upper) {
                             return engine.invert_damped(mean, used, upper);
                           });
}

Candidate obs_candidate(const UpdateProblem& problem, LayerEngine& engine,
                        const InverseFactor& factor, const ObsOptions& options,
                        std::int64_t& unproven) {
  const Grid& grid = problem.grid;
  Candidate candidate{
      {problem.weights.begin(), problem.weights.end()}, Mask(grid.rows(), grid.cols()), {}};
  const ObsSweep sweep(grid, factor, options, problem.largest);
  unproven = engine.sweep(sweep, candidate);
  candidate.errors = engine.squared_outputs(candidate.weights.data());
  return candidate;
}

// Says in the result what the factorisation met; `damping` was asked for.
void describe_factor(const InverseFactor& factor, double damping, UpdateResult& result) {
  result.damping = factor.damping;
  result.dead_columns = factor.dead;
  if (factor.dead > 0) add_note(result.note, fmt::format("{} inputs always zero", factor.dead));
  if (factor.damping != damping)
    add_note(result.note, fmt::format("damping raised to {:g}", factor.damping));
}

// What is left where no factorisation succeeds.
void keep_magnitude(const UpdateProblem& problem, LayerEngine& engine, Candidate magnitude,
                    std::span<float> weights, UpdateResult& result) {
  result.note = "no factorisation of the Gram matrix: pruned by magnitude";
  finish(problem, engine, magnitude, magnitude, weights, result);
  result.magnitude_rows = problem.grid.rows();
}

}  // namespace

Candidate refine_support(const UpdateProblem& problem, LayerEngine& engine, Candidate candidate,
                         int steps, double damping) {
  engine.prepare_refinement(damping);
  Candidate refined = empty_candidate(problem);
  engine.refine(candidate, steps, refined);
  refined.errors = engine.squared_outputs(refined.weights.data());
  take_better(candidate, refined, problem.grid);
  return candidate;
}

void check_refinements(int steps) {
  if (steps < 0) throw InvalidArgument(fmt::format("{} refinements: at least 0 are needed", steps));
}

UpdateResult update_layer(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                          const Pattern& pattern, std::span<const double> gram,
                          const ObsOptions& options, const Refinement& refine) {
  const UpdateProblem problem(
      weights, Grid(pattern, {rows, cols, options.row_segments, options.col_segments}), gram,
      options.columns, options.threads);
  UpdateResult result;
  result.mask = Mask(rows, cols);
  if (weights.empty()) return result;

  const auto engine =
      options.engine == nullptr ? open_cpu_engine(problem) : options.engine->open(problem);
  Candidate magnitude = magnitude_candidate(problem, *engine);
  auto factor = factorise_on(*engine, problem.gram, options.damping);
  if (!factor) {
    keep_magnitude(problem, *engine, std::move(magnitude), weights, result);
    return result;
  }
  describe_factor(*factor, options.damping, result);
  Candidate best = obs_candidate(problem, *engine, *factor, options, result.unproven_blocks);
  factor.reset();
  if (refine) best = refine(problem, *engine, std::move(best), result);
  finish(problem, *engine, std::move(best), magnitude, weights, result);
  return result;
}

}  // namespace prune

UpdateResult obs_prune(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                       const Pattern& pattern, std::span<const double> gram,
                       const ObsOptions& options) {
  prune::check_damping(options.damping);
  if (options.block < 1)
    throw InvalidArgument(
        fmt::format("the block is {} columns, needs to be 1 or more", options.block));
  prune::check_refinements(options.refinements);
  prune::Refinement refine;
  if (options.refinements > 0)
    refine = [&](const prune::UpdateProblem& problem, prune::LayerEngine& engine,
                 prune::Candidate found, UpdateResult& result) {
      return prune::refine_support(problem, engine, std::move(found), options.refinements,
                                   result.damping);
    };
  return prune::update_layer(weights, rows, cols, pattern, gram, options, refine);
}

}  // namespace coppice
