// The normalisation in front of a projection (LayerNorm, RMSNorm), written in the layout in which
// gathered patterns read their activations: a norm and a transpose in one.
//
//   coppice::cuda::Normalization norm{Normalization::Kind::rms, weight, nullptr, 1e-5f};
//   norm.statistics = {nullptr, factors};   // device memory, [tokens]
//   coppice::cuda::token_statistics({x, Dtype::f16, tokens, 4096, Layout::token_major}, norm,
//   stream); coppice::cuda::normalize({x, ...}, {y, Dtype::f16, tokens, 4096,
//   Layout::feature_major}, norm, stream); coppice::cuda::multiply(weight, {y, ...}, ...);   //
//   cuda.h
#pragma once

#include <cstdint>

#include "coppice/cuda.h"

namespace coppice::cuda {

/// Of every token: what is taken off, and what it is multiplied by then.
struct TokenStatistics {
  float* mean = nullptr;    ///< device memory, [tokens]; not read or written for RMSNorm
  float* factor = nullptr;  ///< device memory, [tokens]
};

/// What is done to every token: (x - mean) / sqrt(variance + epsilon) * weight + bias (LayerNorm,
/// the variance being that of all features), or x / sqrt(mean of x^2 + epsilon) * weight + bias
/// (RMSNorm).
struct Normalization {
  enum class Kind : std::uint8_t { layer, rms };
  Kind kind = Kind::layer;
  const void* weight = nullptr;  ///< device memory, [features] of the dtype of x; null: ones
  const void* bias = nullptr;    ///< the same; null: zeros
  float epsilon = 1e-5F;
  TokenStatistics statistics{};
};

/// Fills norm.statistics, at the rate of reading x. For whoever has not summed up x when it was
/// made. x: token-major, f16 or bf16. Enqueued on `stream` of the current device, and the rest as
/// in `normalize`.
void token_statistics(const Matrix& x, const Normalization& norm, Stream stream = nullptr);

/// y = norm(x) by norm.statistics, on `stream` of the current device; in fp32, rounded once. x:
/// token-major, f16 or bf16; y: feature-major, of the same shape and dtype; they must not overlap.
/// At nine tenths of the rate of a copy (H200) where the rows of both sides start on 16 bytes.
/// Allocates nothing, does not synchronise, can be captured in a graph. Throws InvalidArgument if
/// something does not fit, DeviceError if the launch fails.
void normalize(const Matrix& x, const MutableMatrix& y, const Normalization& norm,
               Stream stream = nullptr);

}  // namespace coppice::cuda
