// Where the linear algebra of one layer is done: the steps that obs_prune and admm_prune consist
// of. Not part of the public API.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "prune/second_order/candidate.h"

namespace coppice::prune {

class ObsSweep;

/// Works on one UpdateProblem, which outlives it. All matrices are on the host, `[rows, cols]`
/// packed. `refine` needs `prepare_refinement`, `search` needs `prepare_search` after it.
class LayerEngine {
 public:
  LayerEngine() = default;
  LayerEngine(const LayerEngine&) = delete;
  LayerEngine& operator=(const LayerEngine&) = delete;
  virtual ~LayerEngine() = default;

  /// The mask of magnitude pruning.
  virtual Mask magnitude_mask() = 0;

  /// For each row d G dᵀ, d being the weight minus `other` (null: zeros).
  virtual std::vector<double> squared_outputs(const float* other) = 0;

  /// U of InverseFactor for H = gram / mean + damping. @returns false if H is not positive, or U
  /// does not fit floats
  virtual bool invert_damped(double mean, double damping, std::vector<float>& upper) = 0;

  /// The sweep over all rows: replaces the candidate's weights, which are those of the problem, and
  /// sets the bits of its mask. @returns as ObsSweep::run
  virtual std::int64_t sweep(const ObsSweep& sweep, Candidate& candidate) = 0;

  /// @param damping one that made H positive
  virtual void prepare_refinement(double damping) = 0;

  /// The best weights on the support of `from`, by so many steps of conjugate gradients that start
  /// there. No errors.
  virtual void refine(const Candidate& from, int steps, Candidate& to) = 0;

  /// @returns false if the eigenvalues of H cannot be found
  virtual bool prepare_search() = 0;

  /// ADMM from the weights of the problem, then `refine`. @returns iterations, of the rows that
  /// took the most
  virtual int search(const AdmmOptions& options, Candidate& to) = 0;
};

/// On `problem.threads` threads.
std::unique_ptr<LayerEngine> open_cpu_engine(const UpdateProblem& problem);

}  // namespace coppice::prune
