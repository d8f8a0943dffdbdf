// Single elements of any type that an element weight has, and single outputs: kernels for few
// tokens have no fragments to store (kernels/epilogue.h).
#pragma once

#include "cuda/kernels/epilogue.h"

namespace coppice::cuda {

template <Dtype kType>
__device__ inline float load_value(const void* data, std::int64_t index) {
  if constexpr (kType == Dtype::f32)
    return static_cast<const float*>(data)[index];
  else
    return load_element<kType>(data, index);
}

template <Dtype kType>
__device__ inline void store_value(void* data, std::int64_t index, float value) {
  if constexpr (kType == Dtype::f32)
    static_cast<float*>(data)[index] = value;
  else
    store_element<kType>(data, index, value);
}

/// One output, from its finished sum to memory.
template <Dtype kType>
__device__ inline void store_output(const EpilogueArguments& e, std::int64_t token,
                                    std::int64_t row, float sum) {
  float bias = 0;
  if (e.bias != nullptr)
    bias = e.f32_bias ? static_cast<const float*>(e.bias)[row] : load_value<kType>(e.bias, row);
  float v[1] = {fmaf(e.alpha, sum, bias)};
  activate(e.activation, v);
  const std::int64_t index = output_index(e, token, row);
  if (e.residual != nullptr)
    v[0] = combine(e, v[0],
                   e.f32_out ? static_cast<const float*>(e.residual)[index]
                             : load_value<kType>(e.residual, index));
  if (e.f32_out)
    static_cast<float*>(e.y)[index] = v[0];
  else
    store_value<kType>(e.y, index, v[0]);
}

}  // namespace coppice::cuda
