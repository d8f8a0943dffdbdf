// Launch shapes of the pruning kernels, and sums over a block of threads. Not part of the public
// API.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/check.h"

namespace coppice::cuda {

inline constexpr int kThreads = 256;

inline unsigned blocks_for(std::int64_t count, std::int64_t per_block = kThreads) {
  const std::int64_t blocks = (count + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < (1 << 30) ? blocks : 1 << 30);
}

/// One thread for each of `count` things, or several where that are too many.
template <typename Body>
__global__ void __launch_bounds__(kThreads) for_each_kernel(std::int64_t count, const Body body) {
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * kThreads)
    body(i);
}

template <typename Body>
void for_each(std::int64_t count, const char* doing, const Body& body) {
  if (count == 0) return;
  for_each_kernel<<<blocks_for(count), kThreads>>>(count, body);
  check(cudaGetLastError(), doing);
}

/// The sum over the block's kThreads threads, in every thread, always in the same order.
template <typename T>
__device__ inline T block_sum(T value) {
  __shared__ T partial[kThreads / 32];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  T total = 0;
  for (int i = 0; i < kThreads / 32; ++i) total += partial[i];
  __syncthreads();
  return total;
}

}  // namespace coppice::cuda
