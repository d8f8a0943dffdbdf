// Loads of 1, 2 or 4 numbers from shared memory, at an offset known to the compiler. Of memory that
// nobody writes meanwhile: may be moved and left out.
#pragma once

#include <cstdint>

namespace coppice::cuda::ptx {

template <int kOffset>
__device__ inline void load_floats(std::uint32_t shared, float (&x)[1]) {
  asm("ld.shared.f32 %0, [%1+%2];" : "=f"(x[0]) : "r"(shared), "n"(kOffset));
}
template <int kOffset>
__device__ inline void load_floats(std::uint32_t shared, float (&x)[2]) {
  asm("ld.shared.v2.f32 {%0, %1}, [%2+%3];" : "=f"(x[0]), "=f"(x[1]) : "r"(shared), "n"(kOffset));
}
template <int kOffset>
__device__ inline void load_floats(std::uint32_t shared, float (&x)[4]) {
  asm("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4+%5];"
      : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
      : "r"(shared), "n"(kOffset));
}

/// Four numbers of 16 bits.
template <int kOffset>
__device__ inline void load_pairs(std::uint32_t shared, std::uint32_t (&pairs)[2]) {
  asm("ld.shared.v2.u32 {%0, %1}, [%2+%3];"
      : "=r"(pairs[0]), "=r"(pairs[1])
      : "r"(shared), "n"(kOffset));
}

}  // namespace coppice::cuda::ptx
