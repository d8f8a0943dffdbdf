// In place of src/cuda/ptx/tf32.h: see emulate.h.
#pragma once
#include "cuda/ptx/mma.h"
namespace coppice::cuda::ptx {
/// What a matrix instruction sees of 32 bits.
inline float tf32(std::uint32_t bits) { return std::bit_cast<float>(bits & 0xFFFFE000U); }
inline std::uint32_t round_tf32_operand(std::uint32_t bits) {
  return std::isnan(std::bit_cast<float>(bits)) ? bits : bits + 0x1000;
}
inline std::uint32_t round_tf32(float v) {
  return round_tf32_operand(std::bit_cast<std::uint32_t>(v)) & 0xFFFFE000U;
}
inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  emulated_exchange({a[0], a[1], a[2], a[3], b[0], b[1]}, [&](auto& all) {
    each_sum(d, [&](int row, int col, float& to) {
      double sum = to;
      for (int k = 0; k < 8; ++k)
        sum += double(tf32(all[row % 8 * 4 + k % 4][row / 8 + k / 4 * 2])) *
               tf32(all[col * 4 + k % 4][4 + k / 4]);
      to = static_cast<float>(sum);
    });
    return 0;
  });
}
}  // namespace coppice::cuda::ptx
