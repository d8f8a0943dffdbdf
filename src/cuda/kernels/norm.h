// Normalises tokens and turns them into feature-major on the way out.
#pragma once

#include "coppice/dtype.h"
#include "cuda/kernels/transpose.h"

namespace coppice::cuda {

struct NormArguments {
  TransposeArguments move;  ///< rows: tokens, cols: features
  const void* weight = nullptr;
  const void* bias = nullptr;
  float epsilon = 0;
  bool rms = false;
  bool wide_factors = false;  ///< set by launch_norm, as what is wide of `move`
};

/// f16 or bf16.
void launch_norm(NormArguments arguments, Dtype dtype, int multiprocessors, cudaStream_t stream);

}  // namespace coppice::cuda
