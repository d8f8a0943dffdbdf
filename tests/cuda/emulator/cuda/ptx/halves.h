// In place of src/cuda/ptx/halves.h: see emulate.h.
#pragma once
#include "cuda/ptx/bytes.h"
namespace coppice::cuda::ptx {
inline std::uint32_t upper_half(std::uint32_t p) { return p >> 16 | (p & 0xFFFF0000u); }
}  // namespace coppice::cuda::ptx
