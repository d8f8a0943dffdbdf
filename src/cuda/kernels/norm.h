// Normalises tokens and turns them into feature-major on the way out.
#pragma once

#include "coppice/cuda_norm.h"
#include "cuda/kernels/transpose.h"

namespace coppice::cuda {

struct NormArguments {
  TransposeArguments move;  ///< rows: tokens, cols: features
  Normalization norm;
  bool wide_factors = false;  ///< set by launch_norm, as what is wide of `move`
};

/// Both for f16 or bf16.
void launch_token_statistics(NormArguments arguments, Dtype dtype, cudaStream_t stream);
void launch_norm(NormArguments arguments, Dtype dtype, cudaStream_t stream);

}  // namespace coppice::cuda
