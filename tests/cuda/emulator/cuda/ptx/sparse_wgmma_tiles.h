// In place of src/cuda/ptx/sparse_wgmma_tiles.h: see emulate.h.
#pragma once
#include "cuda/ptx/wgmma.h"
namespace coppice::cuda::ptx {
template <Dtype kType, int kSelector, int kCount>
void sparse_wgmma_tile(float (&d)[kCount], const std::uint32_t (&a)[4], std::uint64_t b,
                       std::uint32_t metadata) {
  sparse_wgmma<kType, kSelector, 0>(d, a, b, metadata);
}
}  // namespace coppice::cuda::ptx
