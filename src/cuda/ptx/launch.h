// Programmatic dependent launch (compute capability 9.0 and later; elsewhere kernels follow each
// other as always). A kernel that is launched so (cuda/launch.h) may begin while those before it
// end.
#pragma once

namespace coppice::cuda::ptx {

/// The next kernel of the stream, if it was launched for that, may begin as soon as all thread
/// blocks of this one have come here.
__device__ inline void let_next_kernel_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Until the kernels before have ended and their writes can be seen. Nothing that they may have
/// written must be read before, and nothing that they may read be written.
__device__ inline void wait_for_kernels_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace coppice::cuda::ptx
