#include "sparse_matrix.h"

#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <tuple>

#include "arrays.h"
#include "bindings.h"
#include "coppice/error.h"
#include "coppice/sparse_file.h"

using namespace nb::literals;

namespace coppice::python {
namespace {

using Segments = std::vector<std::int64_t>;

Sparse compress_array(nb::handle dense, nb::handle mask, const PatternArgument& pattern,
                      Segments row_segments, Segments col_segments, nb::handle input_permutation,
                      int threads) {
  const WeightInput input = weight_input(dense, "dense");
  const Pattern parsed = pattern_of(pattern);
  const CompressOptions options{
      .row_segments = std::move(row_segments),
      .col_segments = std::move(col_segments),
      .input_permutation = permutation_input(input_permutation, "input_permutation"),
      .threads = thread_count(threads)};
  std::optional<Mask> kept;
  if (!mask.is_none()) kept = mask_input(mask, "mask");
  nb::gil_scoped_release release;
  return Sparse(kept ? compress(input.view, *kept, parsed, options)
                     : compress(input.view, parsed, options));
}

nb::object to_dense(const Sparse& self, nb::handle out, int threads) {
  const SparseMatrix& matrix = *self.matrix;
  const WeightOutput target = out.is_none() ? new_weight(matrix.dtype, matrix.rows(), matrix.cols())
                                            : weight_output(out, "out");
  const MutableDenseView& view = target.view;
  if (view.dtype != matrix.dtype || view.rows != matrix.rows() || view.cols != matrix.cols())
    throw InvalidArgument(fmt::format("out: needs {} [{}, {}], got {} [{}, {}]",
                                      dtype_name(matrix.dtype), matrix.rows(), matrix.cols(),
                                      dtype_name(view.dtype), view.rows, view.cols));
  const int used = thread_count(threads);
  {
    nb::gil_scoped_release release;
    decompress(matrix.view(), view, used);
  }
  return target.array;
}

Sparse from_arrays(const PatternArgument& pattern, std::pair<std::int64_t, std::int64_t> shape,
                   nb::handle values, nb::handle columns, nb::handle metadata,
                   nb::handle input_permutation, Segments row_segments, Segments col_segments,
                   int threads) {
  SparseMatrix matrix;
  matrix.grid = std::make_shared<const Grid>(
      pattern_of(pattern),
      WeightShape{shape.first, shape.second, std::move(row_segments), std::move(col_segments)});
  const WeightInput input = weight_input(values, "values");
  const DenseView& given = input.view;
  if (given.rows != matrix.rows() || given.cols != matrix.grid->kept())
    throw InvalidArgument(fmt::format("values: needs [{}, {}], got [{}, {}]", matrix.rows(),
                                      matrix.grid->kept(), given.rows, given.cols));
  matrix.dtype = given.dtype;
  matrix.columns = bytes_input(columns, "columns");
  matrix.metadata = bytes_input(metadata, "metadata");
  matrix.input_permutation = permutation_input(input_permutation, "input_permutation");
  const int used = thread_count(threads);
  nb::gil_scoped_release release;
  const auto row_bytes = static_cast<std::size_t>(given.cols * dtype_bytes(given.dtype));
  matrix.values.reserve(row_bytes * static_cast<std::size_t>(given.rows));
  for (std::int64_t r = 0; r < given.rows; ++r)
    matrix.values.insert(matrix.values.end(), given.row(r), given.row(r) + row_bytes);
  validate(matrix.view(), used);
  return Sparse(std::move(matrix));
}

// What pickle keeps, in the order of its fields; bytes are those of the canonical arrays.
using State = std::tuple<std::string, std::pair<std::int64_t, std::int64_t>, Segments, Segments,
                         std::string, nb::bytes, nb::bytes, nb::bytes, nb::bytes>;

template <typename T>
nb::bytes bytes_of(const std::vector<T>& data) {
  return nb::bytes(data.data(), data.size() * sizeof(T));
}

template <typename T>
std::vector<T> vector_of(const nb::bytes& bytes) {
  std::vector<T> data(bytes.size() / sizeof(T));
  std::memcpy(data.data(), bytes.c_str(), data.size() * sizeof(T));
  return data;
}

State state_of(const Sparse& self) {
  const SparseMatrix& m = *self.matrix;
  const WeightShape& shape = m.grid->shape();
  return {m.pattern().to_string(),
          {m.rows(), m.cols()},
          shape.row_segments,
          shape.col_segments,
          std::string(dtype_name(m.dtype)),
          bytes_of(m.values),
          bytes_of(m.columns),
          bytes_of(m.metadata),
          bytes_of(m.input_permutation)};
}

void set_state(Sparse& self, const State& state) {
  const auto& [pattern, shape, row_segments, col_segments, dtype, values, columns, metadata,
               permutation] = state;
  SparseMatrix matrix;
  matrix.grid = std::make_shared<const Grid>(
      Pattern::parse(pattern), WeightShape{shape.first, shape.second, row_segments, col_segments});
  matrix.dtype = parse_dtype(dtype).value_or(Dtype::boolean);  // which validate refuses
  matrix.values = vector_of<std::byte>(values);
  matrix.columns = vector_of<std::byte>(columns);
  matrix.metadata = vector_of<std::byte>(metadata);
  matrix.input_permutation = vector_of<std::uint32_t>(permutation);
  validate(matrix.view());
  new (&self) Sparse(std::move(matrix));
}

// A read-only NumPy array [rows, width] of the matrix's own bytes, which it keeps alive.
nb::object bytes_array(nb::handle self, const std::vector<std::byte>& bytes, std::int64_t rows,
                       std::int64_t width) {
  return nb::cast(nb::ndarray<nb::numpy, const std::uint8_t, nb::ndim<2>>(
      bytes.data(), {static_cast<std::size_t>(rows), static_cast<std::size_t>(width)}, self));
}

nb::object values_array(nb::handle self) {
  const SparseMatrix& m = *nb::cast<const Sparse&>(self).matrix;
  const nb::object bytes =
      bytes_array(self, m.values, m.rows(), m.grid->kept() * dtype_bytes(m.dtype));
  return bytes.attr("view")(numpy_dtype(m.dtype));
}

nb::object columns_array(nb::handle self) {
  const SparseMatrix& m = *nb::cast<const Sparse&>(self).matrix;
  if (!m.grid->has_columns()) return bytes_array(self, m.columns, 0, 0);
  return bytes_array(self, m.columns, std::ssize(m.grid->vectors()),
                     m.grid->column_bytes_per_vector());
}

nb::object metadata_array(nb::handle self) {
  const SparseMatrix& m = *nb::cast<const Sparse&>(self).matrix;
  if (!m.grid->has_metadata()) return bytes_array(self, m.metadata, 0, 0);
  return bytes_array(self, m.metadata, m.rows(), m.grid->metadata_bytes_per_row());
}

std::map<std::string, SparseView, std::less<>> views_of(
    const std::map<std::string, const Sparse*>& weights) {
  std::map<std::string, SparseView, std::less<>> views;
  for (const auto& [name, sparse] : weights) views.emplace(name, sparse->matrix->view());
  return views;
}

void save_file(const std::map<std::string, const Sparse*>& weights,
               const std::filesystem::path& path) {
  const auto views = views_of(weights);
  nb::gil_scoped_release release;
  write_sparse(path, views);
}

nb::dict load_file(const std::filesystem::path& path, int threads) {
  const int used = thread_count(threads);
  std::map<std::string, SparseMatrix, std::less<>> loaded;
  {
    nb::gil_scoped_release release;
    loaded = read_sparse(path, used);
  }
  nb::dict result;
  for (auto& [name, matrix] : loaded)
    result[python_text(name)] = nb::cast(Sparse(std::move(matrix)));
  return result;
}

std::vector<Pattern> detect_patterns(nb::handle dense, int threads) {
  const WeightInput input = weight_input(dense, "dense");
  const int used = thread_count(threads);
  Detection found;
  {
    nb::gil_scoped_release release;
    found = detect(input.view, {}, used);
  }
  std::vector<Pattern> patterns;
  for (const DetectedPattern& one : found.satisfied) patterns.push_back(one.pattern);
  return patterns;
}

std::string describe(const Sparse& self) {
  const SparseMatrix& m = *self.matrix;
  return fmt::format("SparseMatrix(shape=({}, {}), pattern=\"{}\", dtype={}, nbytes={})", m.rows(),
                     m.cols(), m.pattern().to_string(), dtype_name(m.dtype), m.own_bytes());
}

void bind_class(nb::module_& module) {
  nb::class_<Sparse>(module, "SparseMatrix",
                     "A compressed weight [rows, cols] in its canonical form. Immutable. Made by "
                     "compress, from_arrays, load_file and Checkpoint.read_packed.")
      .def_prop_ro(
          "shape",
          [](const Sparse& s) { return nb::make_tuple(s.matrix->rows(), s.matrix->cols()); })
      .def_prop_ro(
          "dtype", [](const Sparse& s) { return numpy_dtype(s.matrix->dtype); },
          "The NumPy dtype; of bfloat16 and fp8 that of ml_dtypes.")
      .def_prop_ro("pattern", [](const Sparse& s) { return s.matrix->pattern(); })
      .def_prop_ro(
          "nbytes", [](const Sparse& s) { return s.matrix->own_bytes(); },
          "Bytes of the compressed arrays.")
      .def_prop_ro(
          "density", [](const Sparse& s) { return s.matrix->grid->density(); },
          "Stored weights over all weights of this very shape.")
      .def_prop_ro("bits_per_weight",
                   [](const Sparse& s) { return s.matrix->grid->bits_per_weight(s.matrix->dtype); })
      .def_prop_ro("values", &values_array, "[rows, kept], read only, not a copy.")
      .def_prop_ro("columns", &columns_array,
                   "uint8 [vectors, bytes], read only: the choice of columns (docs/format.md).")
      .def_prop_ro("metadata", &metadata_array,
                   "uint8 [rows, bytes], read only: the choice row by row (docs/format.md).")
      .def_prop_ro(
          "input_permutation",
          [](const Sparse& s) -> nb::object {
            if (s.matrix->input_permutation.empty()) return nb::none();
            return array_of(s.matrix->input_permutation);
          },
          "uint32 [cols], or None.")
      .def_prop_ro(
          "row_segments", [](const Sparse& s) { return s.matrix->grid->shape().row_segments; },
          "Lengths of declared segments; empty if there are none.")
      .def_prop_ro("col_segments",
                   [](const Sparse& s) { return s.matrix->grid->shape().col_segments; })
      .def_static("from_arrays", &from_arrays, "pattern"_a, "shape"_a, "values"_a,
                  "columns"_a = nb::none(), "metadata"_a = nb::none(), nb::kw_only(),
                  "input_permutation"_a = nb::none(), "row_segments"_a = Segments{},
                  "col_segments"_a = Segments{}, "threads"_a = 0,
                  "From canonical arrays (docs/format.md), which are copied and validated.")
      .def(
          "mask", [](const Sparse& s) { return mask_array(stored_mask(s.matrix->view())); },
          "The bool mask of the stored positions.")
      .def("to_dense", &to_dense, "out"_a = nb::none(), nb::kw_only(), "threads"_a = 0,
           "The pruned weight, bit for bit where it is stored and +0 elsewhere: a new NumPy array, "
           "or out, a writable array of the same dtype and shape (a PyTorch tensor, say), filled "
           "and returned.")
      .def(
          "pack", [](Sparse& s, int threads) { return packed_of(s, thread_count(threads)); },
          "threads"_a = 0, "The layout that this machine's kernels read; made once and kept.")
      .def("__copy__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__deepcopy__", [](nb::handle self, nb::handle) { return nb::borrow(self); }, "memo"_a)
      .def("__getstate__", &state_of)
      .def("__setstate__", &set_state)
      .def("__repr__", &describe);
}

}  // namespace

const Packed& packed_of(Sparse& sparse, int threads) {
  if (sparse.packed.weight) return sparse.packed;
  const std::shared_ptr<const SparseMatrix> matrix = sparse.matrix;
  std::shared_ptr<const cpu::PackedWeight> made;
  {
    nb::gil_scoped_release release;
    made = std::make_shared<const cpu::PackedWeight>(matrix->view(), threads);
  }
  if (!sparse.packed.weight) sparse.packed.weight = std::move(made);  // else another thread did
  return sparse.packed;
}

void bind_sparse_matrix(nb::module_& module) {
  bind_class(module);
  module.def("compress", &compress_array, "dense"_a, "mask"_a.none(), "pattern"_a, nb::kw_only(),
             "row_segments"_a = Segments{}, "col_segments"_a = Segments{},
             "input_permutation"_a = nb::none(), "threads"_a = 0,
             "Stores the weights that the bool mask keeps, bit for bit; mask None: those that are "
             "not zero. Raises InvalidArgument, with the first place, if that breaks the pattern.");
  module.def(
      "detect", &detect_patterns, "dense"_a, nb::kw_only(), "threads"_a = 0,
      "The patterns that a dense weight with zeros satisfies, tightest first; Pattern(\"dense\") "
      "is always the last.");
  module.def("save_file", &save_file, "weights"_a, "path"_a,
             "Writes compressed weights by name to one safetensors file, which appears complete or "
             "not at all.");
  module.def("load_file", &load_file, "path"_a, nb::kw_only(), "threads"_a = 0,
             "The compressed weights of such a file by name, validated.");
}

}  // namespace coppice::python
