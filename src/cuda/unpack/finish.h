// What becomes of a library's product that has no epilogue of ours.
#pragma once

#include <cuda_runtime.h>

#include "cuda/kernels/arguments.h"

namespace coppice::cuda {

struct FinishArguments {
  EpilogueArguments epilogue;  // alpha is in the sums
  // Of the dtype and layout of y, in y itself or elsewhere.
  const void* sums = nullptr;
  std::int64_t sums_stride = 0;
  std::int32_t rows = 0, tokens = 0;
  bool wide = false;  // set by launch_finish
};

/// Enqueues y = act(sums + bias) + residual, or * factor. `type`: of the weight.
void launch_finish(FinishArguments arguments, Dtype type, cudaStream_t stream);

}  // namespace coppice::cuda
