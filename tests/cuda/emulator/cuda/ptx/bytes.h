// In place of src/cuda/ptx/bytes.h: see emulate.h.
#pragma once
#include "emulate.h"
namespace coppice::cuda::ptx {
inline std::uint32_t select_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t s) {
  if (s & 0x8888) emulated::fail("selector with a sign");
  return __byte_perm(a, b, s);
}
}  // namespace coppice::cuda::ptx
