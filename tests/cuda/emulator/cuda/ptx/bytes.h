// In place of src/cuda/ptx/bytes.h: see emulate.h.
#pragma once
#include "emulate.h"
namespace coppice::cuda::ptx {
/// prmt: bit 3 of a selector makes eight copies of the sign of its byte.
inline std::uint32_t select_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t s) {
  std::uint32_t out = __byte_perm(a, b, s);
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t byte = 0xFFU << 8 * i;
    if (s >> 4 * i & 8) out = (out & ~byte) | (out >> (8 * i + 7) & 1 ? byte : 0);
  }
  return out;
}
}  // namespace coppice::cuda::ptx
