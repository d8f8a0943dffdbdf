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

/// x F(x) of a distribution function F that is symmetric: max(x, 0) - |x| F(-|x|), of which the
/// tail F(-t) is 2 to the power of a polynomial in t. Beyond `largest` the tail is nothing.
template <int kCount>
__device__ inline float less_tail(float x, const float (&polynomial)[kCount], float largest) {
  const float t = fminf(fabsf(x), largest);
  float exponent = polynomial[0];
#pragma unroll
  for (int i = 1; i < kCount; ++i) exponent = fmaf(exponent, t, polynomial[i]);
  return fmaf(-t, ptx::power_of_two(exponent), ptx::larger_or_nan(x, 0.0f));
}

/// By the normal distribution; off by less than 6e-7.
__device__ inline float fast_gelu(float x) {
  constexpr float kTail[] = {-4.7407171e-4f, 7.0885527e-3f, -5.1833775e-2f,
                             -0.45998991f,   -1.1507868f,   -1.0000381f};
  return less_tail(x, kTail, 8.0f);
}

/// By its approximation with a hyperbolic tangent; off by less than 1.5e-6.
__device__ inline float fast_gelu_tanh(float x) {
  constexpr float kTail[] = {3.6375361e-4f, -5.2091233e-3f, 1.9581124e-2f, -6.4714752e-2f,
                             -0.45189685f,  -1.1529251f,    -0.99985427f};
  return less_tail(x, kTail, 5.5f);
}

/// The activation of 16-bit products: of 16 rows x 32 tokens in the fragment order of mma
/// (epilogue.h). Sums that overflowed are taken for infinite ones.
__device__ inline void activate_fragment(Activation activation, float (&v)[16]) {
  if (activation == Activation::silu) {
    gate_fragment(v, [](float x) { return -1.44269504f * x; });
  } else if (activation == Activation::gelu_tanh) {
#pragma unroll
    for (float& x : v) x = fast_gelu_tanh(x);
  } else if (activation == Activation::gelu) {
#pragma unroll
    for (float& x : v) x = fast_gelu(x);
  } else {
    activate(activation, v);
  }
}

}  // namespace coppice::cuda
