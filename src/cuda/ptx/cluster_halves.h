// The two halves of a barrier of all threads of a cluster (sm_90 and later). Who arrives has to
// wait as well before it ends.
#pragma once

namespace coppice::cuda::ptx {

__device__ inline void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ inline void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

}  // namespace coppice::cuda::ptx
