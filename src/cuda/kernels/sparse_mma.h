// Launcher of the portable product kernels (sm_80 and later); see the .cu for what they do.
#pragma once

#include <cuda_runtime.h>

#include "cuda/kernels/arguments.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Enqueues one product on `stream`. The tile counts of `arguments` must be those of `shape`, with
/// row tiles of MmaShape::kBlocks blocks, whatever their vectors.
void launch_sparse_mma(const MmaShape& shape, Dtype type, const ProductArguments& arguments,
                       cudaStream_t stream);

}  // namespace coppice::cuda
