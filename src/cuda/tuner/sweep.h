// Pushes everything else out of the L2 cache.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace coppice::cuda {

/// Enqueues a read of `bytes` (a multiple of 16) of device memory, aligned to 16 bytes. What is in
/// the cache afterwards is as memory has it: a fill would leave the next kernel to write it back.
void launch_sweep(const void* data, std::size_t bytes, cudaStream_t stream);

}  // namespace coppice::cuda
