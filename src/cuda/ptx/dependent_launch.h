// Programmatic dependent launch (sm_90 and later; elsewhere kernels follow each other as always).
#pragma once

namespace coppice::cuda::ptx {

/// The next kernel of the stream, if it was launched for that, may begin as soon as all thread
/// blocks of this one have come here.
__device__ inline void let_next_kernel_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Waits for the end of the kernels before this one, and for what they wrote.
__device__ inline void wait_for_kernels_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace coppice::cuda::ptx
