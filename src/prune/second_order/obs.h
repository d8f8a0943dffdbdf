// Optimal Brain Surgeon as a step of other methods. Not part of the public API.
#pragma once

#include <cstdint>
#include <memory>

#include "prune/second_order/candidate.h"
#include "prune/second_order/engine.h"
#include "prune/second_order/inverse_factor.h"

namespace coppice::prune {

/// @param engine null: the CPU
std::unique_ptr<LayerEngine> open_engine(const UpdateProblem& problem, const UpdateEngine* engine);

/// factorise_inverse with the engine's attempts.
std::optional<InverseFactor> factorise_on(LayerEngine& engine, const GramView& gram,
                                          double damping);

/// @param unproven  as in UpdateResult
Candidate obs_candidate(const UpdateProblem& problem, LayerEngine& engine,
                        const InverseFactor& factor, const ObsOptions& options,
                        std::int64_t& unproven);

/// Says in the result what the factorisation met. @param damping  asked for
void describe_factor(const InverseFactor& factor, double damping, UpdateResult& result);

/// What is left where no factorisation succeeds.
void keep_magnitude(const UpdateProblem& problem, LayerEngine& engine, Candidate magnitude,
                    std::span<float> weights, UpdateResult& result);

}  // namespace coppice::prune
