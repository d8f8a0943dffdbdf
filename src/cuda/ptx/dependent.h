// Programmatic dependent launch (compute capability 9.0): a kernel's thread blocks may come while
// those of the kernel before leave.
#pragma once

namespace coppice::cuda::ptx {

/// Until the kernel before has ended and its writes can be seen. Nothing that it may have written
/// must be read before, and nothing that it may read be written.
__device__ inline void wait_for_kernel_before() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

/// The next kernel's thread blocks may come as soon as all of this one's have said so.
__device__ inline void let_next_kernel_come() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

}  // namespace coppice::cuda::ptx
