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

// Both supports, OBS's and ADMM's, refined; for each vector the better one.
Candidate run(const UpdateProblem& problem, prune::LayerEngine& engine, Candidate obs,
              const AdmmOptions& options, UpdateResult& result) {
  Candidate refined =
      prune::refine_support(problem, engine, std::move(obs), options.refinements, result.damping);
  if (!engine.prepare_search()) {
    prune::add_note(result.note, "no eigenvalues of the Gram matrix: OBS only");
    return refined;
  }
  Candidate found = prune::empty_candidate(problem);
  result.iterations = engine.search(options, found);
  found.errors = engine.squared_outputs(found.weights.data());
  result.admm_rows = prune::take_better(refined, found, problem.grid);
  return refined;
}

void check_options(const AdmmOptions& options) {
  prune::check_damping(options.damping);
  if (!std::isfinite(options.penalty) || !(options.penalty > 0))
    throw InvalidArgument(
        fmt::format("the penalty is {}, needs to be more than 0", options.penalty));
  prune::check_refinements(options.refinements);
  if (options.iterations < 1)
    throw InvalidArgument(fmt::format("{} iterations: at least 1 is needed", options.iterations));
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
