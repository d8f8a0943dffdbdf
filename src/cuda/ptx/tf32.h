// Matrix instructions for TF32 (sm_80 and later): 32-bit numbers of which 19 bits count.
#pragma once

#include <cstdint>

namespace coppice::cuda::ptx {

/// The nearest number with 10 bits behind the point, ties away from zero.
__device__ inline std::uint32_t round_tf32(float value) {
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}

/// The same for an instruction that ignores the other bits, in which something is left: half of the
/// last bit that counts is added. Not to what is no number, which could become one.
__device__ inline std::uint32_t round_tf32_operand(std::uint32_t bits) {
  asm("{\n"
      ".reg .pred number;\n"
      "setp.num.f32 number, %1, %1;\n"
      "@number add.u32 %0, %0, 0x1000;\n"
      "}\n"
      : "+r"(bits)
      : "f"(__uint_as_float(bits)));
  return bits;
}

/// D += A B with A 16x8, of 32-bit numbers of which 19 bits count. Lane 4g+t holds a: k = t of rows
/// g, g+8, then k = t + 4; b: k = t, t + 4 of token g; d: rows g (0, 1) and g+8 (2, 3) at tokens
/// 2t, 2t+1.
__device__ inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4],
                                const std::uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace coppice::cuda::ptx
