// Contract: reads an array once, 16 bytes a thread and turn; writes nothing. 1024 threads a block,
// a few blocks a multiprocessor; not tuned, since nobody waits for it.
#include "cuda/check.h"
#include "cuda/tuner/sweep.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 1024, kBlocks = 512;

__global__ void __launch_bounds__(kThreads)
    sweep(const int4* __restrict__ data, std::size_t count, int* never) {
  int sum = 0;
  for (std::size_t i = blockIdx.x * std::size_t{kThreads} + threadIdx.x; i < count;
       i += std::size_t{kBlocks} * kThreads) {
    const int4 v = data[i];
    sum |= v.x | v.y | v.z | v.w;
  }
  // Keeps the loads: the compiler cannot know that there is no place to store to.
  if (never != nullptr) *never = sum;
}

}  // namespace

void launch_sweep(const void* data, std::size_t bytes, cudaStream_t stream) {
  sweep<<<kBlocks, kThreads, 0, stream>>>(static_cast<const int4*>(data), bytes / sizeof(int4),
                                          nullptr);
  check(cudaGetLastError(), "clearing the cache");
}

}  // namespace coppice::cuda
