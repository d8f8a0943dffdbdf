// Y = act(alpha W X + bias) on the CPU.
#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include "arrays.h"
#include "bindings.h"
#include "coppice/error.h"
#include "coppice/linear.h"
#include "options.h"
#include "sparse_matrix.h"

using namespace nb::literals;

namespace coppice::python {
namespace {

Activation activation_of(nb::handle name) {
  if (name.is_none()) return Activation::none;
  constexpr std::array<NamedValue<Activation>, 5> kNames{{{"none", Activation::none},
                                                          {"relu", Activation::relu},
                                                          {"gelu", Activation::gelu},
                                                          {"gelu_tanh", Activation::gelu_tanh},
                                                          {"silu", Activation::silu}}};
  return named("activation", nb::cast<std::string>(name), kNames);
}

// Bytes from the first element to behind the last.
template <typename T>
std::pair<std::uintptr_t, std::uintptr_t> extent(const BasicActivations<T>& a) {
  const auto begin = reinterpret_cast<std::uintptr_t>(a.data);
  if (a.tokens == 0 || a.features == 0) return {begin, begin};
  return {begin, reinterpret_cast<std::uintptr_t>(&a.at(a.tokens - 1, a.features - 1)) + sizeof(T)};
}

void check_no_overlap(const Activations& x, const MutableActivations& y) {
  const auto [x_begin, x_end] = extent(x);
  const auto [y_begin, y_end] = extent(y);
  if (x_begin < y_end && y_begin < x_end)
    throw InvalidArgument("out: it overlaps x; pass another array");
}

nb::object multiply_arrays(const Packed& packed, nb::handle x, nb::handle out, nb::handle bias,
                           nb::handle activation, float alpha, Layout axes, int threads) {
  const cpu::PackedWeight& weight = *packed.weight;
  const ActivationsInput input = activations_input(x, "x", axes);
  if (input.view.features != weight.cols())
    throw InvalidArgument(fmt::format("x has {} features, the weight has {} columns",
                                      input.view.features, weight.cols()));
  const ActivationsOutput output =
      out.is_none() ? new_activations(input.view.tokens, weight.rows(), axes, input.one_token)
                    : activations_output(out, "out", axes);
  Numbers<float> added;
  const std::array<std::int64_t, 1> shape{weight.rows()};
  if (!bias.is_none()) added = numbers<float>(bias, "bias", shape);
  check_no_overlap(input.view, output.view);
  const Epilogue epilogue{
      .alpha = alpha, .bias = added.values, .activation = activation_of(activation)};
  const int used = thread_count(threads);
  {
    nb::gil_scoped_release release;
    cpu::multiply(weight, input.view, output.view, epilogue, used);
  }
  return output.array;
}

// The weight as a matrix product reads it: [rows, cols] @ [cols, tokens], or @ [cols].
nb::object matmul(const Packed& weight, nb::handle x) {
  return multiply_arrays(weight, x, nb::none(), nb::none(), nb::none(), 1, Layout::feature_major,
                         0);
}

}  // namespace

void bind_product(nb::module_& module) {
  nb::class_<Packed>(module, "PackedWeight",
                     "A weight in the order in which this machine's CPU kernels read it. Made by "
                     "SparseMatrix.pack; float32, float16 and bfloat16.")
      .def_prop_ro(
          "shape",
          [](const Packed& p) { return nb::make_tuple(p.weight->rows(), p.weight->cols()); })
      .def_prop_ro("dtype", [](const Packed& p) { return numpy_dtype(p.weight->dtype()); })
      .def_prop_ro("pattern", [](const Packed& p) { return p.weight->pattern(); })
      .def_prop_ro(
          "nbytes", [](const Packed& p) { return p.weight->bytes(); }, "Bytes held.")
      .def(
          "kernel_name",
          [](const Packed& p, std::int64_t tokens) { return cpu::kernel_name(*p.weight, tokens); },
          "tokens"_a, "The kernel that multiply runs for so many tokens on this machine.")
      .def("__matmul__", &matmul, "x"_a, "W @ x: [rows, cols] @ [cols, tokens], or @ [cols].");
  nb::object sparse = module.attr("SparseMatrix");
  sparse.attr("__matmul__") = nb::cpp_function(
      [](Sparse& self, nb::handle x) { return matmul(packed_of(self, thread_count(0)), x); },
      nb::is_method(), nb::scope(sparse), nb::name("__matmul__"), "x"_a,
      "W @ x in float32: [rows, cols] @ [cols, tokens], or @ [cols]. The first product packs.");
  // NumPy then leaves `array @ sparse` to Python, which refuses it, instead of making an object of
  // it.
  sparse.attr("__array_ufunc__") = nb::none();
  module.attr("PackedWeight").attr("__array_ufunc__") = nb::none();
  const auto multiply = [](nb::handle weight, nb::handle x, nb::handle out, nb::handle bias,
                           nb::handle activation, float alpha, std::string_view layout,
                           int threads) {
    if (!nb::isinstance<Packed>(weight) && !nb::isinstance<Sparse>(weight))
      throw InvalidArgument("weight: needs a SparseMatrix or a PackedWeight");
    const Packed packed = nb::isinstance<Packed>(weight)
                              ? nb::cast<Packed>(weight)
                              : packed_of(nb::cast<Sparse&>(weight), thread_count(threads));
    return multiply_arrays(packed, x, out, bias, activation, alpha, layout_of(layout), threads);
  };
  module.def(
      "multiply", multiply, "weight"_a, "x"_a, nb::kw_only(), "out"_a = nb::none(),
      "bias"_a = nb::none(), "activation"_a = nb::none(), "alpha"_a = 1.0F, "layout"_a = "token",
      "threads"_a = 0,
      "act(alpha * W x + bias) in float32.\n\nlayout \"token\": x [tokens, cols] gives [tokens, "
      "rows]; \"feature\": [cols, tokens] gives [rows, tokens]; either may be [features] for one "
      "token. Arrays may be strided as long as tokens or features lie side by side. activation: "
      "\"relu\", \"gelu\", \"gelu_tanh\", \"silu\". out is filled and returned. The same bits for "
      "any "
      "number of threads; 0: all processors.");
  module.def(
      "cpu_target", [] { return std::string(cpu::target_name()); },
      "The instruction set in use, such as \"AVX3\".");
}

}  // namespace coppice::python
