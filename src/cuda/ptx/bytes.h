// Byte selection within registers.
#pragma once

#include <cstdint>

namespace coppice::cuda::ptx {

/// Byte i of the result is byte number (selector >> 4i & 7) of the eight of a, then b. Bits 3 of
/// the selectors have to be 0 (the intrinsic __byte_perm clears them, an instruction more), those
/// from 16 on count for nothing.
__device__ inline std::uint32_t select_bytes(std::uint32_t a, std::uint32_t b,
                                             std::uint32_t selector) {
  std::uint32_t out;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(selector));
  return out;
}

}  // namespace coppice::cuda::ptx
