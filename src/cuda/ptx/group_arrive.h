// The half of a barrier of threads of a block that does not wait.
#pragma once

namespace coppice::cuda::ptx {

template <int kNumber, int kThreads>
__device__ inline void group_arrive() {
  asm volatile("bar.arrive %0, %1;" ::"n"(kNumber), "n"(kThreads) : "memory");
}

}  // namespace coppice::cuda::ptx
