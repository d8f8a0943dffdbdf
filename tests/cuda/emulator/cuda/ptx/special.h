// In place of src/cuda/ptx/special.h: see emulate.h.
#pragma once
#include "emulate.h"
namespace coppice::cuda::ptx {
inline float power_of_two(float x) { return std::exp2(x); }
inline float reciprocal(float x) { return 1 / x; }
inline float larger_or_nan(float a, float b) {
  return std::isnan(a) || std::isnan(b) ? NAN : std::max(a, b);
}
}  // namespace coppice::cuda::ptx
