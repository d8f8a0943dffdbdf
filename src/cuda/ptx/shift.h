// Shifts whose amount may be too large.
#pragma once

#include <cstdint>

namespace coppice::cuda::ptx {

/// `bits` << `by`; 0 where `by` is 32 or more, or negative.
__device__ inline std::uint32_t shift_left(std::uint32_t bits, std::uint32_t by) {
  std::uint32_t out;
  asm("shl.b32 %0, %1, %2;" : "=r"(out) : "r"(bits), "r"(by));
  return out;
}

}  // namespace coppice::cuda::ptx
