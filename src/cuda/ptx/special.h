// The special function unit: approximations with a relative error of some 1e-7, subnormal numbers
// taken for zero.
#pragma once

namespace coppice::cuda::ptx {

__device__ inline float power_of_two(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

__device__ inline float reciprocal(float x) {
  float inverse;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(x));
  return inverse;
}

}  // namespace coppice::cuda::ptx
