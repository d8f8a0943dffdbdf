// In place of src/cuda/ptx/copy_4.h: see emulate.h.
#pragma once
#include "cuda/ptx/copy.h"
namespace coppice::cuda::ptx {
inline void copy_async_4(std::uint32_t s, const void* g) { copy_async_bytes(s, g, 4, 4); }
}  // namespace coppice::cuda::ptx
