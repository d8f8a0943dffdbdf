// The GPU side of coppice.torch: the caller's memory, the caller's stream.
#include <nanobind/stl/function.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/variant.h>

#include "arrays.h"
#include "bindings.h"
#include "coppice/cuda_gradient.h"
#include "coppice/cuda_libraries.h"
#include "cuda_weight.h"

using namespace nb::literals;

namespace coppice::python {
namespace {

// Enqueues the product and returns 0, or returns the bytes of workspace that it needs and was not
// given. The GIL is kept: this only enqueues.
std::int64_t multiply(const CudaWeight& self, std::int64_t tokens, std::uintptr_t x,
                      std::int64_t x_stride, bool x_by_features, std::uintptr_t y,
                      bool y_by_features, std::uintptr_t bias, bool bias_is_f32, int activation,
                      std::uintptr_t residual, std::uintptr_t workspace,
                      std::int64_t workspace_size, std::uintptr_t stream, bool batch_invariant) {
  const cuda::Matrix input = self.input(tokens, x, x_stride, x_by_features);
  const cuda::MultiplyOptions options{.batch_invariant = batch_invariant};
  if (workspace == 0) {
    const std::int64_t needed = cuda::workspace_bytes(self.weight(), input, options);
    if (needed > 0) return needed;
  }
  cuda::Epilogue epilogue;
  epilogue.bias = reinterpret_cast<const void*>(bias);
  epilogue.bias_dtype = bias_is_f32 ? Dtype::f32 : self.dtype();
  epilogue.activation = static_cast<Activation>(activation);
  epilogue.residual = reinterpret_cast<const void*>(residual);
  cuda::multiply(self.weight(), input, self.output(tokens, y, y_by_features), epilogue,
                 {reinterpret_cast<void*>(workspace), workspace_size}, stream_of(stream), options);
  return 0;
}

cuda::KeptDeviceView kept_view(const Grid& grid, std::uintptr_t columns) {
  return {reinterpret_cast<const std::uint16_t*>(columns), grid.rows(), grid.cols(), grid.kept()};
}

void bind_gradient(nb::module_& module) {
  module.def(
      "cuda_scatter_kept",
      [](const Grid& grid, std::uintptr_t columns, std::uintptr_t values,
         std::string_view values_dtype, std::uintptr_t dense, std::string_view dense_dtype,
         std::uintptr_t stream) {
        cuda::scatter_kept(kept_view(grid, columns), reinterpret_cast<const void*>(values),
                           tensor_dtype(values_dtype), reinterpret_cast<void*>(dense),
                           tensor_dtype(dense_dtype), stream_of(stream));
      },
      "Of coppice.torch: values to their columns (uint16 [rows, kept]) of a dense weight.");
  module.def(
      "cuda_gather_kept",
      [](const Grid& grid, std::uintptr_t columns, std::uintptr_t dense,
         std::string_view dense_dtype, std::uintptr_t values, std::string_view values_dtype,
         std::uintptr_t stream) {
        cuda::gather_kept(kept_view(grid, columns), reinterpret_cast<const void*>(dense),
                          tensor_dtype(dense_dtype), reinterpret_cast<void*>(values),
                          tensor_dtype(values_dtype), stream_of(stream));
      },
      "Of coppice.torch: the way back.");
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
             std::uintptr_t input_permutation, std::uintptr_t stream, const Allocate& allocate) {
            new (self) CudaWeight(structure.grid(), dtype,
                                  {values, columns, metadata, input_permutation}, stream, allocate);
          },
          "structure"_a, "dtype"_a, "values"_a, "columns"_a, "metadata"_a, "input_permutation"_a,
          "stream"_a, "allocate"_a,
          "On the current device, in memory of which allocate(bytes) gives the address.")
      .def(
          "__init__",
          [](CudaWeight* self, std::shared_ptr<Grid> grid, std::string_view dtype, bool permuted,
             std::uintptr_t memory) {
            new (self) CudaWeight(std::move(grid), dtype, permuted, memory);
          },
          "grid"_a, "dtype"_a, "permuted"_a, "memory"_a,
          "Over memory of the current device that an equal weight was packed into.")
      .def("repack",
           [](CudaWeight& self, std::uintptr_t values, std::uintptr_t columns,
              std::uintptr_t metadata, std::uintptr_t input_permutation, std::uintptr_t stream) {
             self.repack({values, columns, metadata, input_permutation}, stream);
           })
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
  bind_gradient(module);
  module.def("cuda_device_count", &cuda::device_count,
             "GPUs that this build can multiply on; 0 without a driver.");
  module.def("cuda_has_dense_library", &cuda::has_dense_library,
             "Whether cuBLASLt multiplies on the current device.");
  module.def(
      "cuda_reads_in_place",
      [](const Grid& grid, std::string_view dtype, bool permuted, std::int64_t tokens,
         bool by_features) {
        return cuda::reads_in_place(grid, tensor_dtype(dtype), permuted, tokens,
                                    memory_order(by_features));
      },
      "grid"_a, "dtype"_a, "permuted"_a, "tokens"_a, "by_features"_a,
      "Whether the current device multiplies activations of this layout as they lie.");
  module.def(
      "cuda_can_multiply",
      [](const PatternArgument& pattern, std::string_view dtype) {
        return cuda::can_multiply(pattern_of(pattern), tensor_dtype(dtype));
      },
      "pattern"_a, "dtype"_a);
}

}  // namespace coppice::python
