// Moves of 16 bits on the pipe of floating point, beside that of byte selections and shifts.
#pragma once

#include <cstdint>

namespace coppice::cuda::ptx {

/// The upper 16 bits in both halves, as a product of 16-bit floats by 1: not of a NaN.
__device__ inline std::uint32_t upper_half(std::uint32_t pair) {
  std::uint32_t out;
  asm("{\n"
      ".reg .b16 low, high;\n"
      ".reg .b32 both;\n"
      "mov.b32 {low, high}, %1;\n"
      "mov.b32 both, {high, high};\n"
      "fma.rn.f16x2 %0, both, %2, %3;\n"
      "}\n"
      : "=r"(out)
      : "r"(pair), "r"(0x3C003C00u), "r"(0x80008000u));  // times 1, and -0 changes nothing
  return out;
}

}  // namespace coppice::cuda::ptx
