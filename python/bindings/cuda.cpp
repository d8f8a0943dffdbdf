// The GPU side of coppice.torch: the caller's memory, the caller's stream.
#include "coppice/cuda.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/variant.h>

#include "arrays.h"
#include "bindings.h"
#include "tensors.h"

using namespace nb::literals;

namespace coppice::python {
namespace {

// Arrays in device memory by their addresses; 0 where there is none.
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

cuda::Stream stream_of(std::uintptr_t stream) { return reinterpret_cast<cuda::Stream>(stream); }

// A packed weight and the grid that it is packed again with.
class CudaWeight {
 public:
  CudaWeight(const Structure& structure, std::string_view dtype, const DeviceArrays& arrays,
             std::uintptr_t stream)
      : grid_(structure.grid()),
        dtype_(tensor_dtype(dtype)),
        weight_(arrays.view(grid_, dtype_), stream_of(stream)) {}

  void repack(const DeviceArrays& arrays, std::uintptr_t stream) {
    weight_.repack(arrays.view(grid_, dtype_), stream_of(stream));
  }

  cuda::Matrix input(std::int64_t tokens, std::uintptr_t x, std::int64_t stride,
                     bool by_features) const {
    return {reinterpret_cast<const void*>(x), dtype_, tokens, weight_.cols(),
            memory_order(by_features),        stride};
  }
  cuda::MutableMatrix output(std::int64_t tokens, std::uintptr_t y, bool by_features) const {
    return {reinterpret_cast<void*>(y), dtype_, tokens, weight_.rows(),
            memory_order(by_features),  0};
  }
  Dtype dtype() const { return dtype_; }
  const cuda::PackedWeight& weight() const { return weight_; }

 private:
  std::shared_ptr<const Grid> grid_;
  Dtype dtype_;
  cuda::PackedWeight weight_;
};

std::int64_t workspace_bytes(const CudaWeight& self, std::int64_t tokens, std::uintptr_t x,
                             std::int64_t x_stride, bool x_by_features, bool batch_invariant) {
  return cuda::workspace_bytes(self.weight(), self.input(tokens, x, x_stride, x_by_features),
                               {.batch_invariant = batch_invariant});
}

// The GIL is kept: this only enqueues.
void multiply(const CudaWeight& self, std::int64_t tokens, std::uintptr_t x, std::int64_t x_stride,
              bool x_by_features, std::uintptr_t y, bool y_by_features, std::uintptr_t bias,
              bool bias_is_f32, int activation, std::uintptr_t workspace,
              std::int64_t workspace_size, std::uintptr_t stream, bool batch_invariant) {
  cuda::Epilogue epilogue;
  epilogue.bias = reinterpret_cast<const void*>(bias);
  epilogue.bias_dtype = bias_is_f32 ? Dtype::f32 : self.dtype();
  epilogue.activation = static_cast<Activation>(activation);
  cuda::multiply(self.weight(), self.input(tokens, x, x_stride, x_by_features),
                 self.output(tokens, y, y_by_features), epilogue,
                 {reinterpret_cast<void*>(workspace), workspace_size}, stream_of(stream),
                 {.batch_invariant = batch_invariant});
}

}  // namespace

void bind_cuda(nb::module_& module) {
  nb::class_<CudaWeight>(module, "CudaWeight",
                         "Of coppice.torch: a weight as the GPU's kernels read it. Memory and "
                         "streams come as addresses, which only coppice.torch may pass.")
      .def(
          "__init__",
          [](CudaWeight* self, const Structure& structure, std::string_view dtype,
             std::uintptr_t values, std::uintptr_t columns, std::uintptr_t metadata,
             std::uintptr_t input_permutation, std::uintptr_t stream) {
            nb::gil_scoped_release release;
            new (self) CudaWeight(structure, dtype, {values, columns, metadata, input_permutation},
                                  stream);
          },
          "structure"_a, "dtype"_a, "values"_a, "columns"_a, "metadata"_a, "input_permutation"_a,
          "stream"_a, "On the current device.")
      .def("repack",
           [](CudaWeight& self, std::uintptr_t values, std::uintptr_t columns,
              std::uintptr_t metadata, std::uintptr_t input_permutation, std::uintptr_t stream) {
             self.repack({values, columns, metadata, input_permutation}, stream);
           })
      .def("workspace_bytes", &workspace_bytes)
      .def("multiply", &multiply)
      .def(
          "kernel_name",
          [](const CudaWeight& self, std::int64_t tokens, bool by_features, bool batch_invariant) {
            return cuda::kernel_name(self.weight(), tokens, memory_order(by_features),
                                     {.batch_invariant = batch_invariant});
          },
          "tokens"_a, "by_features"_a = false, "batch_invariant"_a = false)
      .def_prop_ro(
          "nbytes", [](const CudaWeight& self) { return self.weight().bytes(); },
          "Bytes of device memory held.");
  module.def("cuda_device_count", &cuda::device_count,
             "GPUs that this build can multiply on; 0 without a driver.");
  module.def(
      "cuda_can_multiply",
      [](const PatternArgument& pattern, std::string_view dtype) {
        return cuda::can_multiply(pattern_of(pattern), tensor_dtype(dtype));
      },
      "pattern"_a, "dtype"_a);
}

}  // namespace coppice::python
