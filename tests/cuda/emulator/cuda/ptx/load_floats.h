// In place of src/cuda/ptx/load_floats.h: see emulate.h.
#pragma once
#include "cuda/ptx/copy.h"
namespace coppice::cuda::ptx {
template <int kOffset, typename T, int kCount>
void load_together(std::uint32_t s, T (&x)[kCount]) {
  std::memcpy(x, emulated::at(s + kOffset, sizeof x, sizeof x), sizeof x);
}
template <int kOffset, int kCount>
void load_floats(std::uint32_t s, float (&x)[kCount]) {
  load_together<kOffset>(s, x);
}
template <int kOffset>
void load_pairs(std::uint32_t s, std::uint32_t (&pairs)[2]) {
  load_together<kOffset>(s, pairs);
}
}  // namespace coppice::cuda::ptx
