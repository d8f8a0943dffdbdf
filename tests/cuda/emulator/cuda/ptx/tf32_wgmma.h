// In place of src/cuda/ptx/tf32_wgmma.h: see emulate.h.
#pragma once
#include "cuda/ptx/tf32.h"
#include "cuda/ptx/wgmma.h"
namespace coppice::cuda::ptx {
/// A in registers, read when it is issued; B K-major.
template <int kAdds, int kCount>
void tf32_wgmma(float (&d)[kCount], const std::uint32_t (&a)[4], std::uint64_t b) {
  const auto rows = emulated_exchange({a[0], a[1], a[2], a[3]}, [&](auto& all) {
    std::vector<float> values;
    for (int row = 0; row < 16; ++row)
      for (int k = 0; k < 8; ++k)
        values.push_back(tf32(all[row % 8 * 4 + k % 4][row / 8 + k / 4 * 2]));
    return values;
  });
  float* to = d;
  emulated::issued.push_back([=] {
    const int lane = emulated::lane;
    for (int i = 0; i < kCount; ++i) {
      const int row = lane / 4 + 8 * (i / 2 % 2), n = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
      double sum = kAdds ? to[i] : 0;
      // A number is two places of 16 bits.
      for (int k = 0; k < 8; ++k)
        sum += double(rows[8 * row + k]) * tf32(get<std::uint32_t>(place(b, false, n, 2 * k)));
      to[i] = static_cast<float>(sum);
    }
  });
}
}  // namespace coppice::cuda::ptx
