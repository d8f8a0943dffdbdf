// Launcher of the portable product kernels (sm_80 and later); sparse_mma_kernel.h says what they
// do.
#pragma once

#include <cuda_runtime.h>

#include "cuda/device_info.h"
#include "cuda/kernels/arguments.h"
#include "cuda/kernels/mma_shapes.h"

namespace coppice::cuda {

/// Enqueues one product on `stream`. The tile counts, stages and stage_rows of `arguments` must be
/// those of `shape`, with row tiles of as many blocks as its kernel has warps along the rows,
/// whatever their vectors.
void launch_sparse_mma(const MmaShape& shape, Dtype type, const ProductArguments& arguments,
                       const DeviceInfo& device, cudaStream_t stream);

}  // namespace coppice::cuda
