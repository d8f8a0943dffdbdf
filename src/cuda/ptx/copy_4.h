// Copies of single 32-bit elements to shared memory (see copy.h).
#pragma once

#include <cstdint>

namespace coppice::cuda::ptx {

__device__ inline void copy_async_4(std::uint32_t shared, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared), "l"(global) : "memory");
}

}  // namespace coppice::cuda::ptx
