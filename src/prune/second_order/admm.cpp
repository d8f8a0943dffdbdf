// ADMM for layer-wise pruning, then conjugate gradients on the support that it found
// (docs/second_order.md; after ALPS, Meng et al. 2024, algorithms 1 and 2).
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "coppice/error.h"
#include "prune/second_order/obs.h"

namespace coppice {
namespace {

using prune::Candidate;
using prune::UpdateProblem;

Candidate empty_candidate(const UpdateProblem& problem) {
  return {std::vector<float>(problem.weights.size()),
          Mask(problem.grid.rows(), problem.grid.cols()),
          {}};
}

// Both supports, OBS's and ADMM's, refined; for each vector the better one.
Candidate run(const UpdateProblem& problem, prune::LayerEngine& engine, Candidate obs,
              const AdmmOptions& options, UpdateResult& result) {
  if (!engine.prepare_admm(result.damping)) {
    prune::add_note(result.note, "no eigenvalues of the Gram matrix: OBS only");
    return obs;
  }
  Candidate refined = empty_candidate(problem), found = empty_candidate(problem);
  engine.refine(obs, options.refinements, refined);
  result.iterations = engine.search(options, found);
  refined.errors = engine.squared_outputs(refined.weights.data());
  found.errors = engine.squared_outputs(found.weights.data());
  prune::take_better(refined, obs, problem.grid);
  result.admm_rows = prune::take_better(refined, found, problem.grid);
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
  return prune::update_layer(
      weights, rows, cols, pattern, gram,
      {.row_segments = options.row_segments,
       .col_segments = options.col_segments,
       .damping = options.damping,
       .columns = options.columns,
       .threads = options.threads,
       .engine = options.engine},
      [&](const UpdateProblem& problem, prune::LayerEngine& engine, Candidate obs,
          UpdateResult& result) { return run(problem, engine, std::move(obs), options, result); });
}

}  // namespace coppice
