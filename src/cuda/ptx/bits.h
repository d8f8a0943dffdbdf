// Single bits of a register.
#pragma once

#include <cstdint>

namespace coppice::cuda::ptx {

/// Number of the highest bit that is set, of which there is one.
__device__ inline std::uint32_t highest_bit(std::uint32_t bits) {
  std::uint32_t number;
  asm("bfind.u32 %0, %1;" : "=r"(number) : "r"(bits));
  return number;
}

/// The number of bits above it.
__device__ inline std::uint32_t bits_above(std::uint32_t bits) {
  std::uint32_t number;
  asm("bfind.shiftamt.u32 %0, %1;" : "=r"(number) : "r"(bits));
  return number;
}

}  // namespace coppice::cuda::ptx
