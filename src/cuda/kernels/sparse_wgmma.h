// Launcher of the wgmma product kernels (sm_90a); see the .cu for what they do.
#pragma once

#include <cuda_runtime.h>

#include "cuda/kernels/arguments.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Enqueues one product on `stream`. `shape`: an index of kWgmmaShapes; the tables and tile counts
/// of `arguments` must be those of that shape.
void launch_sparse_wgmma(int shape, bool token_major, Dtype type, const ProductArguments& arguments,
                         const DeviceInfo& device, cudaStream_t stream);

}  // namespace coppice::cuda
