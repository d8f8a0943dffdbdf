// In place of src/cuda/ptx/copy_bytes.h: see emulate.h.
#pragma once
#include "cuda/ptx/copy.h"
namespace coppice::cuda::ptx {
template <int kBytes>
void copy_async(std::uint32_t s, const void* g) {
  copy_async_bytes(s, g, kBytes, kBytes);
}
}  // namespace coppice::cuda::ptx
