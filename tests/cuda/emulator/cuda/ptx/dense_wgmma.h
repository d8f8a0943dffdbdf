// In place of src/cuda/ptx/dense_wgmma.h: see emulate.h.
#pragma once
#include "cuda/ptx/wgmma.h"
namespace coppice::cuda::ptx {
/// A in registers, read when it is issued.
template <Dtype kType, int kTransB, int kCount>
void dense_wgmma(float (&d)[kCount], const std::uint32_t (&a)[4], std::uint64_t b) {
  const auto rows = emulated_exchange({a[0], a[1], a[2], a[3]}, [&](auto& all) {
    std::vector<float> values;
    for (int row = 0; row < 16; ++row)
      for (int k = 0; k < 16; ++k) values.push_back(element_of_a<kType>(all, row, k));
    return values;
  });
  float* to = d;
  const int first = 16 * (emulated::warp_number % 4);
  emulated::issued.push_back([=] {
    multiply_tile<kType, kCount>(
        to, [&](int row, int k) { return rows[16 * (row - first) + k]; }, b, kTransB, true);
  });
}
}  // namespace coppice::cuda::ptx
