// Brings activations into another layout: matrices of 16- or 32-bit elements, turned or realigned.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace coppice::cuda {

/// A matrix [rows][cols] and where it goes. Strides are elements between rows of each side.
struct TransposeArguments {
  const void* from = nullptr;
  std::int64_t from_stride = 0;
  std::int64_t rows = 0, cols = 0;
  void* to = nullptr;
  std::int64_t to_stride = 0;
  std::int64_t to_width = 0;  ///< elements written of each row of `to`: at least `rows`, then zeros
  bool wide_from = false, wide_to = false;  ///< set by launch_transpose
};

/// to[col * to_stride + row] = from[row * from_stride + col]. Sides whose rows start on 16 bytes go
/// at the rate of a copy. `element_bytes`: 2 or 4.
void launch_transpose(TransposeArguments arguments, int element_bytes, cudaStream_t stream);

/// to[row * to_stride + col] = from[row * from_stride + col]. `element_bytes`: 2 or 4.
void launch_realign(TransposeArguments arguments, int element_bytes, cudaStream_t stream);

}  // namespace coppice::cuda
