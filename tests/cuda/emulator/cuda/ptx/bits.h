// In place of src/cuda/ptx/bits.h: see emulate.h.
#pragma once
#include "emulate.h"
namespace coppice::cuda::ptx {
// Of no bits both are 0xFFFFFFFF.
inline std::uint32_t highest_bit(std::uint32_t b) { return 31U - std::countl_zero(b); }
inline std::uint32_t bits_above(std::uint32_t b) {
  return b == 0 ? ~0U : static_cast<std::uint32_t>(std::countl_zero(b));
}
}  // namespace coppice::cuda::ptx
