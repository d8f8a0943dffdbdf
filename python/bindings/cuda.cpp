// The GPU side of coppice.torch: the caller's memory, the caller's stream.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/variant.h>

#include "arrays.h"
#include "bindings.h"
#include "cuda_weight.h"

using namespace nb::literals;

namespace coppice::python {
namespace {

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
