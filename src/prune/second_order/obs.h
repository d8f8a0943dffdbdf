// Optimal Brain Surgeon, alone or as the start of another method. Not part of the public API.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "prune/second_order/candidate.h"
#include "prune/second_order/engine.h"

namespace coppice::prune {

/// Makes a better candidate out of OBS's; may add to the result's note and counts.
using Refinement = std::function<Candidate(const UpdateProblem& problem, LayerEngine& engine,
                                           Candidate obs, UpdateResult& result)>;

/// Prunes a layer by OBS and what `refine`, if given, makes of that, row for row no worse than by
/// magnitude. The options are checked already; their refinements are not looked at.
UpdateResult update_layer(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                          const Pattern& pattern, std::span<const double> gram,
                          const ObsOptions& options, const Refinement& refine = {});

/// The candidate with the best weights on its own support, by so many steps of conjugate gradients,
/// for each vector in which they change the output less. Leaves the engine ready for a search.
/// @param damping one that made H positive
Candidate refine_support(const UpdateProblem& problem, LayerEngine& engine, Candidate candidate,
                         int steps, double damping);

/// Throws InvalidArgument if they are less than 0.
void check_refinements(int steps);

}  // namespace coppice::prune
