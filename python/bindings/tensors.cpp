// The CPU side of coppice.torch.
#include "tensors.h"

#include <fmt/format.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "arrays.h"
#include "bindings.h"
#include "coppice/error.h"
#include "sparse_matrix.h"

using namespace nb::literals;

namespace coppice::python {
namespace {

using Segments = std::vector<std::int64_t>;

std::shared_ptr<const Grid> make_grid(const PatternArgument& pattern, std::int64_t rows,
                                      std::int64_t cols, Segments row_segments,
                                      Segments col_segments) {
  return std::make_shared<const Grid>(
      pattern_of(pattern),
      WeightShape{rows, cols, std::move(row_segments), std::move(col_segments)});
}

Structure* new_structure(void* place, std::shared_ptr<const Grid> grid, nb::handle columns,
                         nb::handle metadata, nb::handle input_permutation, int threads) {
  return new (place)
      Structure(std::move(grid), bytes_input(columns, "columns"), bytes_input(metadata, "metadata"),
                permutation_input(input_permutation, "input_permutation"), thread_count(threads));
}

Packed pack(const Structure& self, std::string_view dtype, std::uintptr_t values, int threads) {
  const SparseView view = self.view(tensor_dtype(dtype), values);
  const int used = thread_count(threads);
  nb::gil_scoped_release release;
  return {std::make_shared<const cpu::PackedWeight>(view, used)};
}

void to_dense(const Structure& self, std::string_view dtype, std::uintptr_t values,
              std::uintptr_t out, int threads) {
  const SparseView view = self.view(tensor_dtype(dtype), values);
  const MutableDenseView dense{reinterpret_cast<std::byte*>(out), view.dtype, self.grid()->rows(),
                               self.grid()->cols(), 0};
  const int used = thread_count(threads);
  nb::gil_scoped_release release;
  decompress(view, dense, used);
}

nb::object kept_columns(Structure& self, int threads) {
  const KeptColumns& kept = self.kept_columns(thread_count(threads));
  const Grid& grid = kept.grid();
  std::vector<std::uint32_t> columns;
  columns.reserve(static_cast<std::size_t>(grid.rows() * grid.kept()));
  for (std::int64_t r = 0; r < grid.rows(); ++r)
    for (const std::int32_t place : kept.places(r))
      columns.push_back(static_cast<std::uint32_t>(kept.column(place)));
  return array_of(columns).attr("view")("int32").attr("reshape")(grid.rows(), grid.kept());
}

template <typename T>
BasicActivations<T> matrix(std::uintptr_t data, std::int64_t tokens, std::int64_t features,
                           std::int64_t stride, bool by_features) {
  return {reinterpret_cast<T*>(data), tokens, features, memory_order(by_features), stride};
}

Epilogue epilogue_of(const cpu::PackedWeight& weight, std::uintptr_t bias, int activation) {
  Epilogue epilogue;
  epilogue.activation = static_cast<Activation>(activation);
  if (bias != 0)
    epilogue.bias = {reinterpret_cast<const float*>(bias), static_cast<std::size_t>(weight.rows())};
  return epilogue;
}

// T: of x and y, float or the bits of bf16. bias: fp32.
template <typename T>
void multiply(const Packed& packed, std::int64_t tokens, std::uintptr_t x, std::int64_t x_stride,
              bool x_by_features, std::uintptr_t y, std::int64_t y_stride, bool y_by_features,
              std::uintptr_t bias, int activation, int threads) {
  const cpu::PackedWeight& weight = *packed.weight;
  const Epilogue epilogue = epilogue_of(weight, bias, activation);
  const int used = thread_count(threads);
  const auto from = matrix<const T>(x, tokens, weight.cols(), x_stride, x_by_features);
  const auto to = matrix<T>(y, tokens, weight.rows(), y_stride, y_by_features);
  nb::gil_scoped_release release;
  if constexpr (std::is_same_v<T, float>)
    cpu::multiply(weight, from, to, epilogue, used);
  else
    cpu::multiply_bf16(weight, from, to, epilogue, used);
}

template <typename T>
std::span<T> values_of(const Grid& grid, std::uintptr_t data) {
  return {reinterpret_cast<T*>(data), static_cast<std::size_t>(grid.rows() * grid.kept())};
}

template <typename T>
void transposed(Structure& self, std::uintptr_t values, std::int64_t tokens, std::uintptr_t dy,
                std::int64_t dy_stride, bool dy_by_features, std::uintptr_t dx, int threads) {
  const int used = thread_count(threads);
  const KeptColumns& kept = self.kept_columns(used);
  const Grid& grid = kept.grid();
  nb::gil_scoped_release release;
  multiply_transposed<T>(kept, values_of<const T>(grid, values),
                         matrix<const T>(dy, tokens, grid.rows(), dy_stride, dy_by_features),
                         matrix<T>(dx, tokens, grid.cols(), 0, dy_by_features), used);
}

template <typename T>
void sampled(Structure& self, std::uintptr_t dvalues, std::int64_t tokens, std::uintptr_t dy,
             std::int64_t dy_stride, bool dy_by_features, std::uintptr_t x, std::int64_t x_stride,
             bool x_by_features, int threads) {
  const int used = thread_count(threads);
  const KeptColumns& kept = self.kept_columns(used);
  const Grid& grid = kept.grid();
  nb::gil_scoped_release release;
  sampled_product<T>(kept, matrix<const T>(dy, tokens, grid.rows(), dy_stride, dy_by_features),
                     matrix<const T>(x, tokens, grid.cols(), x_stride, x_by_features),
                     values_of<T>(grid, dvalues), used);
}

void transposed_bf16(Structure& self, std::uintptr_t values, std::int64_t tokens, std::uintptr_t dy,
                     std::int64_t dy_stride, bool dy_by_features, std::uintptr_t dx,
                     bool dx_by_features, int threads) {
  using Bits = std::uint16_t;
  const int used = thread_count(threads);
  const KeptBits& kept = self.kept_bits(used);
  const Grid& grid = kept.grid();
  nb::gil_scoped_release release;
  multiply_transposed_bf16(kept, values_of<const Bits>(grid, values),
                           matrix<const Bits>(dy, tokens, grid.rows(), dy_stride, dy_by_features),
                           matrix<Bits>(dx, tokens, grid.cols(), 0, dx_by_features), used);
}

void sampled_bf16(Structure& self, std::uintptr_t dvalues, std::int64_t tokens, std::uintptr_t dy,
                  std::int64_t dy_stride, bool dy_by_features, std::uintptr_t x,
                  std::int64_t x_stride, bool x_by_features, int threads) {
  using Bits = std::uint16_t;
  const int used = thread_count(threads);
  const KeptBits& kept = self.kept_bits(used);
  const Grid& grid = kept.grid();
  nb::gil_scoped_release release;
  sampled_product_bf16(kept, matrix<const Bits>(dy, tokens, grid.rows(), dy_stride, dy_by_features),
                       matrix<const Bits>(x, tokens, grid.cols(), x_stride, x_by_features),
                       values_of<Bits>(grid, dvalues), used);
}

void bind_layout(nb::module_& module) {
  nb::class_<Grid>(module, "Grid", "A pattern laid over a weight: sizes of its canonical arrays.")
      .def(nb::new_([](const PatternArgument& pattern, std::int64_t rows, std::int64_t cols,
                       Segments row_segments, Segments col_segments) {
             return std::const_pointer_cast<Grid>(
                 make_grid(pattern, rows, cols, std::move(row_segments), std::move(col_segments)));
           }),
           "pattern"_a, "rows"_a, "cols"_a, "row_segments"_a = Segments{},
           "col_segments"_a = Segments{})
      .def_prop_ro("pattern", [](const Grid& g) { return g.pattern(); })
      .def_prop_ro("rows", &Grid::rows)
      .def_prop_ro("cols", &Grid::cols)
      .def_prop_ro("row_segments", [](const Grid& g) { return g.shape().row_segments; })
      .def_prop_ro("col_segments", [](const Grid& g) { return g.shape().col_segments; })
      .def_prop_ro("kept", &Grid::kept)
      .def_prop_ro("density", &Grid::density)
      .def_prop_ro(
          "columns_shape",
          [](const Grid& g) -> nb::object {
            if (!g.has_columns()) return nb::none();
            return nb::make_tuple(g.vectors().size(), g.column_bytes_per_vector());
          },
          "Of the uint8 array, or None.")
      .def_prop_ro(
          "metadata_shape",
          [](const Grid& g) -> nb::object {
            if (!g.has_metadata()) return nb::none();
            return nb::make_tuple(g.rows(), g.metadata_bytes_per_row());
          },
          "Of the uint8 array, or None.");
}

}  // namespace

Dtype tensor_dtype(std::string_view name) {
  constexpr std::array<NamedValue<Dtype>, 3> kNames{
      {{"float32", Dtype::f32}, {"float16", Dtype::f16}, {"bfloat16", Dtype::bf16}}};
  return named("dtype", name, kNames);
}

Structure::Structure(std::shared_ptr<const Grid> grid, std::vector<std::byte> columns,
                     std::vector<std::byte> metadata, std::vector<std::uint32_t> input_permutation,
                     int threads)
    : grid_(std::move(grid)),
      columns_(std::move(columns)),
      metadata_(std::move(metadata)),
      input_permutation_(std::move(input_permutation)) {
  validate(view(Dtype::f32, 0), threads);  // which does not look at values
}

SparseView Structure::view(Dtype dtype, std::uintptr_t values) const {
  return {grid_,
          dtype,
          {reinterpret_cast<const std::byte*>(values),
           static_cast<std::size_t>(grid_->values_bytes(dtype))},
          columns_,
          metadata_,
          input_permutation_};
}

template <typename Kept>
const Kept& Structure::made(std::shared_ptr<const Kept>& kept, int threads) {
  if (kept) return *kept;
  std::shared_ptr<const Kept> made;
  {
    nb::gil_scoped_release release;
    made = std::make_shared<const Kept>(view(Dtype::f32, 0), threads);
  }
  if (!kept) kept = std::move(made);  // else another thread did
  return *kept;
}

const KeptColumns& Structure::kept_columns(int threads) { return made(kept_columns_, threads); }
const KeptBits& Structure::kept_bits(int threads) { return made(kept_bits_, threads); }

void bind_tensors(nb::module_& module) {
  bind_layout(module);
  nb::class_<Structure>(module, "Structure",
                        "Of coppice.torch: where the weights of canonical arrays lie. Memory comes "
                        "as addresses, which only coppice.torch may pass.")
      .def(
          "__init__",
          [](Structure* self, std::shared_ptr<Grid> grid, nb::handle columns, nb::handle metadata,
             nb::handle input_permutation, int threads) {
            new_structure(self, std::move(grid), columns, metadata, input_permutation, threads);
          },
          "grid"_a, "columns"_a.none(), "metadata"_a.none(), "input_permutation"_a.none(),
          "threads"_a = 0)
      .def("pack", &pack, "dtype"_a, "values"_a, "threads"_a = 0)
      .def("to_dense", &to_dense, "dtype"_a, "values"_a, "out"_a, "threads"_a = 0)
      .def("kept_columns", &kept_columns, "threads"_a = 0, "int32 [rows, kept].")
      .def("multiply_transposed_f32", &transposed<float>)
      .def("multiply_transposed_f64", &transposed<double>)
      .def("sampled_product_f32", &sampled<float>)
      .def("sampled_product_f64", &sampled<double>)
      .def("multiply_transposed_bf16", &transposed_bf16)
      .def("sampled_product_bf16", &sampled_bf16);
  module.def(
      "multiplies_bf16", [] { return bf16_instructions() == Bf16Instructions::vectors; },
      "Whether the gradients in bf16 are those to take on this processor.");
  module.def("multiply_tensor", &multiply<float>);
  module.def("multiply_tensor_bf16", &multiply<std::uint16_t>);
}

}  // namespace coppice::python
