// Kernels that begin while the one before on the stream still runs (programmatic dependent launch,
// compute capability 9.0): back to back, small reads of memory lose nothing to the launches.
#pragma once

#include <cuda_runtime.h>

#include "bench/cuda/device.h"

namespace coppice::bench {

#ifdef __CUDACC__
/// Lets the next kernel begin where there is room.
__device__ inline void allow_next_kernel() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

/// Waits until the kernel before has ended and its memory can be read.
__device__ inline void wait_for_last_kernel() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}
#endif

/// Launches a kernel that calls both of these.
template <typename... Parameters, typename... Arguments>
void launch_overlapping(void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
                        cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = can_overlap_kernels() ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "launch");
}

}  // namespace coppice::bench
