// What transformer blocks on a GPU need beside single products (cuda.cpp): gated pairs of products,
// norms that turn their output, and compression without a way through the host. The caller's
// memory, the caller's stream; memory comes as addresses, which only coppice.torch may pass.
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "coppice/cuda_compress.h"
#include "coppice/cuda_norm.h"
#include "coppice/error.h"
#include "cuda_weight.h"

using namespace nanobind::literals;

namespace coppice::python {
namespace {

std::int64_t gated_workspace_bytes(const CudaWeight& gate, const CudaWeight& up,
                                   std::int64_t tokens, std::uintptr_t x, std::int64_t x_stride,
                                   bool x_by_features, bool batch_invariant) {
  return cuda::gated_workspace_bytes(gate.weight(), up.weight(),
                                     gate.input(tokens, x, x_stride, x_by_features),
                                     {.batch_invariant = batch_invariant});
}

// The GIL is kept: this only enqueues. Biases are of the weights' dtype.
void multiply_gated(const CudaWeight& gate, const CudaWeight& up, std::int64_t tokens,
                    std::uintptr_t x, std::int64_t x_stride, bool x_by_features, std::uintptr_t y,
                    std::int64_t y_stride, bool y_by_features, std::uintptr_t gate_bias,
                    std::uintptr_t up_bias, int activation, std::uintptr_t workspace,
                    std::int64_t workspace_size, std::uintptr_t stream, bool batch_invariant) {
  cuda::Epilogue first, second;
  first.bias = reinterpret_cast<const void*>(gate_bias);
  second.bias = reinterpret_cast<const void*>(up_bias);
  first.bias_dtype = second.bias_dtype = gate.dtype();
  first.activation = static_cast<Activation>(activation);
  cuda::multiply_gated(gate.weight(), up.weight(), gate.input(tokens, x, x_stride, x_by_features),
                       gate.output(tokens, y, y_by_features, y_stride), first, second,
                       {reinterpret_cast<void*>(workspace), workspace_size}, stream_of(stream),
                       {.batch_invariant = batch_invariant});
}

// Outputs are token-major, biases of the weights' dtype.
std::vector<cuda::Product> products(const std::vector<const CudaWeight*>& weights,
                                    std::int64_t tokens, const std::vector<std::uintptr_t>& ys,
                                    const std::vector<std::uintptr_t>& biases) {
  if (ys.size() != weights.size() || biases.size() != weights.size())
    throw InvalidArgument("a weight without an output or a place for its bias");
  std::vector<cuda::Product> all;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const CudaWeight& weight = *weights[i];
    cuda::Product one{&weight.weight(), weight.output(tokens, ys[i], false), {}};
    one.epilogue.bias = reinterpret_cast<const void*>(biases[i]);
    one.epilogue.bias_dtype = weight.dtype();
    all.push_back(one);
  }
  return all;
}

std::int64_t many_workspace_bytes(const std::vector<const CudaWeight*>& weights,
                                  std::int64_t tokens, std::uintptr_t x, std::int64_t x_stride,
                                  bool x_by_features, const std::vector<std::uintptr_t>& ys,
                                  const std::vector<std::uintptr_t>& biases, bool batch_invariant) {
  return cuda::many_workspace_bytes(products(weights, tokens, ys, biases),
                                    weights.at(0)->input(tokens, x, x_stride, x_by_features),
                                    {.batch_invariant = batch_invariant});
}

void multiply_many(const std::vector<const CudaWeight*>& weights, std::int64_t tokens,
                   std::uintptr_t x, std::int64_t x_stride, bool x_by_features,
                   const std::vector<std::uintptr_t>& ys, const std::vector<std::uintptr_t>& biases,
                   std::uintptr_t workspace, std::int64_t workspace_size, std::uintptr_t stream,
                   bool batch_invariant) {
  cuda::multiply_many(products(weights, tokens, ys, biases),
                      weights.at(0)->input(tokens, x, x_stride, x_by_features),
                      {reinterpret_cast<void*>(workspace), workspace_size}, stream_of(stream),
                      {.batch_invariant = batch_invariant});
}

// `known`: mean and factor are given, else they are memory for them.
void normalize(std::int64_t tokens, std::int64_t features, std::uintptr_t x, std::int64_t x_stride,
               std::uintptr_t y, std::int64_t y_stride, std::string_view dtype,
               std::uintptr_t weight, std::uintptr_t bias, float epsilon, bool rms,
               std::uintptr_t mean, std::uintptr_t factor, bool known, std::uintptr_t stream) {
  const Dtype type = tensor_dtype(dtype);
  const cuda::Matrix from{
      reinterpret_cast<const void*>(x), type, tokens, features, Layout::token_major, x_stride};
  const cuda::Normalization norm{
      rms ? cuda::Normalization::Kind::rms : cuda::Normalization::Kind::layer,
      reinterpret_cast<const void*>(weight),
      reinterpret_cast<const void*>(bias),
      epsilon,
      {reinterpret_cast<float*>(mean), reinterpret_cast<float*>(factor)}};
  if (!known) cuda::token_statistics(from, norm, stream_of(stream));
  cuda::normalize(
      from, {reinterpret_cast<void*>(y), type, tokens, features, Layout::feature_major, y_stride},
      norm, stream_of(stream));
}

void compress(const cuda::MagnitudeCompressor& self, std::uintptr_t dense, std::int64_t row_stride,
              std::uintptr_t values, std::uintptr_t columns, std::uintptr_t metadata,
              std::uintptr_t workspace, std::uintptr_t stream) {
  self.compress(reinterpret_cast<const void*>(dense), row_stride,
                {reinterpret_cast<void*>(values), reinterpret_cast<void*>(columns),
                 reinterpret_cast<void*>(metadata)},
                reinterpret_cast<void*>(workspace), stream_of(stream));
}

}  // namespace

void bind_cuda_blocks(nanobind::module_& module) {
  module.def("cuda_gated_workspace_bytes", &gated_workspace_bytes);
  module.def("cuda_multiply_gated", &multiply_gated);
  module.def("cuda_many_workspace_bytes", &many_workspace_bytes);
  module.def("cuda_multiply_many", &multiply_many);
  module.def("cuda_normalize", &normalize);
  nanobind::class_<cuda::MagnitudeCompressor>(
      module, "CudaCompressor",
      "Of coppice.torch: prunes by magnitude and compresses, dense weight and arrays on the GPU.")
      .def(
          "__init__",
          [](cuda::MagnitudeCompressor* self, std::shared_ptr<Grid> grid, std::string_view dtype) {
            new (self) cuda::MagnitudeCompressor(std::move(grid), tensor_dtype(dtype));
          },
          "grid"_a, "dtype"_a, "Its tables go to the current device.")
      .def_prop_ro("workspace_bytes", &cuda::MagnitudeCompressor::workspace_bytes)
      .def("compress", &compress);
}

}  // namespace coppice::python
