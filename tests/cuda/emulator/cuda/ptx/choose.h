// In place of src/cuda/ptx/choose.h: see emulate.h.
#pragma once
#include "emulate.h"
namespace coppice::cuda::ptx {
inline std::uint32_t choose(bool first, std::uint32_t a, std::uint32_t b) { return first ? a : b; }
}  // namespace coppice::cuda::ptx
