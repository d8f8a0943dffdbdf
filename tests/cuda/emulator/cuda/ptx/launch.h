// In place of src/cuda/ptx/launch.h: see emulate.h.
#pragma once
namespace coppice::cuda::ptx {
inline void let_next_kernel_begin() {}
inline void wait_for_kernels_before() {}
}  // namespace coppice::cuda::ptx
