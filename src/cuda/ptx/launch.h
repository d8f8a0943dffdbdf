// Programmatic dependent launch (sm_90): a kernel may begin before the one in front of it in the
// stream has ended; what that one wrote may be read after `wait_for_former_kernel`. Nothing on
// older devices, where kernels follow each other.
#pragma once

namespace coppice::cuda::ptx {

/// From here on the next kernel may begin.
__device__ inline void let_next_kernel_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Until the former kernel has ended and its writes can be seen.
__device__ inline void wait_for_former_kernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace coppice::cuda::ptx
