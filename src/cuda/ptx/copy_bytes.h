// Copies of 4, 8 or 16 bytes to shared memory (see copy.h).
#pragma once

#include "cuda/ptx/copy.h"

namespace coppice::cuda::ptx {

template <int kBytes>
__device__ inline void copy_async(std::uint32_t shared, const void* global) {
  if constexpr (kBytes == 16)
    copy_async_16(shared, global);
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared), "l"(global), "n"(kBytes)
                 : "memory");
}

}  // namespace coppice::cuda::ptx
