// Activations of single sums and of fragments of them.
#pragma once

#include "coppice/linear.h"
#include "cuda/ptx/special.h"

namespace coppice::cuda {

__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

/// The normal distribution function; error below 1e-7 (Abramowitz and Stegun, 7.1.26).
__device__ inline float normal_cdf(float x) {
  const float z = fabsf(x) * 0.70710678f;
  const float t = __fdividef(1.0f, fmaf(0.3275911f, z, 1.0f));
  float sum = fmaf(1.061405429f, t, -1.453152027f);
  sum = fmaf(sum, t, 1.421413741f);
  sum = fmaf(sum, t, -0.284496736f);
  sum = fmaf(sum, t, 0.254829592f);
  const float tail = 0.5f * sum * t * __expf(-z * z);
  return x < 0 ? tail : 1.0f - tail;
}

/// Outside of the loops over values, so that the choice is made once for 16 of them.
template <int kCount>
__device__ inline void activate(Activation activation, float (&v)[kCount]) {
  if (activation == Activation::none) return;
  if (activation == Activation::relu) {
#pragma unroll
    for (float& x : v) x = x > 0 || x != x ? x : 0.0f;
  } else if (activation == Activation::silu) {
#pragma unroll
    for (float& x : v) x *= sigmoid(x);
  } else if (activation == Activation::gelu_tanh) {
#pragma unroll
    for (float& x : v) x *= sigmoid(1.5957691f * fmaf(0.044715f * x * x, x, x));
  } else {
#pragma unroll
    for (float& x : v) x *= normal_cdf(x);
  }
}

/// v[4j + 2h + e] (row g + 8h, token 8j + 2t + e) becomes v times the logistic function of what
/// `exponent` gives for it, as -log2: v / (1 + 2^exponent(v)). The two rows of a token share a
/// reciprocal, since the special function unit, four lanes a clock, is what counts: a token's
/// results do not depend on others.
template <class Exponent>
__device__ inline void gate_fragment(float (&v)[16], const Exponent& exponent) {
  constexpr float kLargest = 60;  // the product of two powers is a number
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    if (i & 2) continue;
    float &low = v[i], &high = v[i + 2];
    const float a = 1.0f + ptx::power_of_two(fminf(exponent(low), kLargest));
    const float b = 1.0f + ptx::power_of_two(fminf(exponent(high), kLargest));
    const float inverse = ptx::reciprocal(a * b);
    low *= inverse * b;
    high *= inverse * a;
  }
}

/// log2 of (1 - P) / P, P the normal distribution function of x: an odd function, approximated so
/// that x P is off by less than 3.1e-6; ever steeper beyond, so that nothing need be cut off.
__device__ inline float normal_exponent(float x) {
  const float square = x * x;
  float sum = fmaf(-3.2103194e-6f, square, 8.7909555e-5f);
  sum = fmaf(sum, square, 3.6203978e-4f);
  sum = fmaf(sum, square, -0.10522995f);
  sum = fmaf(sum, square, -2.3020438f);
  return x * sum;
}

/// The activation of 16-bit products: of 16 rows x 32 tokens in the fragment order of mma
/// (epilogue.h). What overflows stays infinite, whatever its sign.
__device__ inline void activate_fragment(Activation activation, float (&v)[16]) {
  constexpr float kLog2e = 1.44269504f;
  if (activation == Activation::silu)
    gate_fragment(v, [](float x) { return -kLog2e * x; });
  else if (activation == Activation::gelu_tanh)
    gate_fragment(v, [](float x) {
      return x * fmaf(-kLog2e * 1.5957691f * 0.044715f, x * x, -kLog2e * 1.5957691f);
    });
  else if (activation == Activation::gelu)
    gate_fragment(v, normal_exponent);
  else
    activate(activation, v);
}

}  // namespace coppice::cuda
