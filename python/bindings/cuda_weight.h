// A packed weight of coppice.torch on a GPU: what every file of bindings that multiplies by one
// knows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "coppice/cuda.h"
#include "tensors.h"

namespace coppice::python {

/// Arrays in device memory by their addresses; 0 where there is none.
struct DeviceArrays {
  std::uintptr_t values, columns, metadata, input_permutation;

  cuda::SparseDeviceView view(const std::shared_ptr<const Grid>& grid, Dtype dtype) const {
    return {grid,
            dtype,
            reinterpret_cast<const void*>(values),
            reinterpret_cast<const void*>(columns),
            reinterpret_cast<const void*>(metadata),
            reinterpret_cast<const std::uint32_t*>(input_permutation)};
  }
};

inline cuda::Stream stream_of(std::uintptr_t stream) {
  return reinterpret_cast<cuda::Stream>(stream);
}

/// Takes a number of bytes, returns an address: memory of PyTorch's allocator.
using Allocate = std::function<std::uintptr_t(std::int64_t)>;

/// A packed weight and the grid that it is packed again with.
class CudaWeight {
 public:
  CudaWeight(std::shared_ptr<const Grid> grid, std::string_view dtype, const DeviceArrays& arrays,
             std::uintptr_t stream, const Allocate& allocate)
      : grid_(std::move(grid)),
        dtype_(tensor_dtype(dtype)),
        weight_(arrays.view(grid_, dtype_), stream_of(stream),
                [&](std::int64_t bytes) { return reinterpret_cast<void*>(allocate(bytes)); }) {}
  /// Over memory that another one was packed into.
  CudaWeight(std::shared_ptr<const Grid> grid, std::string_view dtype, bool permuted,
             std::uintptr_t memory)
      : grid_(std::move(grid)),
        dtype_(tensor_dtype(dtype)),
        weight_(
            cuda::PackedWeight::over(grid_, dtype_, permuted, reinterpret_cast<void*>(memory))) {}

  void repack(const DeviceArrays& arrays, std::uintptr_t stream) {
    weight_.repack(arrays.view(grid_, dtype_), stream_of(stream));
  }

  cuda::Matrix input(std::int64_t tokens, std::uintptr_t x, std::int64_t stride,
                     bool by_features) const {
    return {reinterpret_cast<const void*>(x), dtype_, tokens, weight_.cols(),
            memory_order(by_features),        stride};
  }
  cuda::MutableMatrix output(std::int64_t tokens, std::uintptr_t y, bool by_features,
                             std::int64_t stride = 0) const {
    return {reinterpret_cast<void*>(y), dtype_, tokens, weight_.rows(),
            memory_order(by_features),  stride};
  }
  Dtype dtype() const { return dtype_; }
  const cuda::PackedWeight& weight() const { return weight_; }

 private:
  std::shared_ptr<const Grid> grid_;
  Dtype dtype_;
  cuda::PackedWeight weight_;
};

}  // namespace coppice::python
