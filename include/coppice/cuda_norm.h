// The normalisation in front of a projection (LayerNorm, RMSNorm), written in the layout in which
// gathered patterns read their activations: a norm and a transpose in one pass.
//
//   coppice::cuda::Normalization rms{Normalization::Kind::rms, weight, nullptr, 1e-5f};
//   coppice::cuda::normalize({x, Dtype::f16, tokens, 4096, Layout::token_major},
//                            {y, Dtype::f16, tokens, 4096, Layout::feature_major}, rms, stream);
//   coppice::cuda::multiply(weight, {y, ...}, ...);   // cuda.h
#pragma once

#include <cstdint>

#include "coppice/cuda.h"

namespace coppice::cuda {

/// What is done to every token: (x - mean) / sqrt(variance + epsilon) * weight + bias (LayerNorm,
/// the variance being that of all features), or x / sqrt(mean of x^2 + epsilon) * weight + bias
/// (RMSNorm).
struct Normalization {
  enum class Kind : std::uint8_t { layer, rms };
  Kind kind = Kind::layer;
  const void* weight = nullptr;  ///< device memory, [features] of the dtype of x; null: ones
  const void* bias = nullptr;    ///< the same; null: zeros
  float epsilon = 1e-5F;
};

/// y = norm(x), on `stream` of the current device; sums and factors in fp32, rounded once.
/// x: token-major, f16 or bf16; y: feature-major, of the same shape and dtype; they must not
/// overlap. At about the rate of a copy where the rows of both sides start on 16 bytes. Allocates
/// nothing, does not synchronise, can be captured in a graph. Throws InvalidArgument if something
/// does not fit, DeviceError if the launch fails.
void normalize(const Matrix& x, const MutableMatrix& y, const Normalization& norm,
               Stream stream = nullptr);

}  // namespace coppice::cuda
