// The OBS sweep in device memory. Not part of the public API.
#pragma once

#include "cuda/prune/algebra.h"
#include "prune/second_order/obs_sweep.h"

namespace coppice::cuda {

/// All rows at once. weights: [rows, cols], replaced; upper: the factor's; keep: [rows, cols],
/// written. @returns vectors times groups whose columns are not proven to be the best
std::int64_t run_sweep(const prune::ObsSweep& sweep, const Algebra& algebra, int threads,
                       const float* upper, float* weights, std::uint8_t* keep);

}  // namespace coppice::cuda
