// Checkpoint directories: what is in them, and pruned, packed and unpacked copies.
#include "checkpoint.h"

#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <functional>
#include <map>

#include "arrays.h"
#include "bindings.h"
#include "coppice/error.h"
#include "coppice/permutation.h"
#include "coppice/prune.h"
#include "sparse_matrix.h"

using namespace nb::literals;
namespace fs = std::filesystem;

namespace coppice::python {
namespace {

using Globs = std::vector<std::string>;

// Lets Ctrl-C through; the writer then removes what it wrote.
void check_signals(const WriteProgress&) {
  nb::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

}  // namespace

WriteOptions write_options(int threads) { return {.threads = threads, .progress = check_signals}; }

namespace {

const LinearWeight& linear_weight(const std::vector<LinearWeight>& weights,
                                  const std::string& name) {
  for (const LinearWeight& weight : weights)
    if (weight.name == name) return weight;
  throw InvalidArgument(
      fmt::format("there is no linear weight '{}'; linear_weights() lists them", name));
}

nb::object read_weight(const Checkpoint& self, const LinearWeight& weight, int threads) {
  const WeightOutput out = new_weight(weight.dtype, weight.shape.rows, weight.shape.cols);
  const int used = thread_count(threads);
  {
    nb::gil_scoped_release release;
    const WeightData data = self.read(weight, used);
    const DenseView& from = data.view();
    const auto row_bytes = static_cast<std::size_t>(from.cols * dtype_bytes(from.dtype));
    for (std::int64_t r = 0; r < from.rows; ++r)
      std::memcpy(out.view.row(r), from.row(r), row_bytes);
  }
  return out.array;
}

Sparse read_packed(const Checkpoint& self, const std::string& name, int threads) {
  const PackedEntry* entry = self.find_packed(name);
  if (entry == nullptr)
    throw InvalidArgument(
        fmt::format("there is no packed weight '{}'; packed_weights() lists them", name));
  const int used = thread_count(threads);
  nb::gil_scoped_release release;
  const PackedData data = self.read_packed(*entry, used);
  const SparseView& view = data.view();
  return Sparse({view.grid,
                 view.dtype,
                 {view.values.begin(), view.values.end()},
                 {view.columns.begin(), view.columns.end()},
                 {view.metadata.begin(), view.metadata.end()},
                 {view.input_permutation.begin(), view.input_permutation.end()}});
}

/// One pattern for all weights, or a weight's own by its name.
using PatternsArgument = std::variant<Pattern, std::string, std::map<std::string, PatternArgument>>;
using PatternOf = std::function<Pattern(const LinearWeight&)>;

PatternOf pattern_by_weight(const PatternsArgument& argument) {
  if (const auto* given = std::get_if<std::map<std::string, PatternArgument>>(&argument)) {
    std::map<std::string, Pattern> patterns;
    for (const auto& [name, pattern] : *given) patterns.emplace(name, pattern_of(pattern));
    return [patterns](const LinearWeight& weight) {
      const auto found = patterns.find(weight.name);
      return found == patterns.end() ? Pattern() : found->second;
    };
  }
  const Pattern pattern = std::holds_alternative<Pattern>(argument)
                              ? std::get<Pattern>(argument)
                              : Pattern::parse(std::get<std::string>(argument));
  return [pattern](const LinearWeight&) { return pattern; };
}

// Magnitude pruning, or what a Python function makes of a copy of the weight.
DenseEdit dense_edit(const PatternOf& pattern_for, nb::handle edit, nb::handle orders,
                     int threads) {
  if (edit.is_none())
    return [pattern_for, threads](const LinearWeight& weight, const MutableDenseView& dense) {
      const Pattern pattern = pattern_for(weight);
      const MaskOptions options{.row_segments = weight.shape.row_segments,
                                .col_segments = weight.shape.col_segments,
                                .threads = threads};
      apply_mask(dense, magnitude_mask(dense, pattern, options).mask, threads);
    };
  return [pattern_for, edit, orders](const LinearWeight& weight, const MutableDenseView& dense) {
    nb::gil_scoped_acquire acquire;
    const WeightOutput copy = new_weight(dense.dtype, dense.rows, dense.cols);
    const auto row_bytes = static_cast<std::size_t>(dense.cols * dtype_bytes(dense.dtype));
    for (std::int64_t r = 0; r < dense.rows; ++r)
      std::memcpy(copy.view.row(r), dense.row(r), row_bytes);
    const WeightInput changed = weight_input(edit(weight, copy.array), "what prune returned");
    const DenseView& from = changed.view;
    if (from.dtype != dense.dtype || from.rows != dense.rows || from.cols != dense.cols)
      throw InvalidArgument(
          fmt::format("what prune returned for '{}' is {} [{}, {}], needed is {} [{}, {}]",
                      weight.name, dtype_name(from.dtype), from.rows, from.cols,
                      dtype_name(dense.dtype), dense.rows, dense.cols));
    // Refuses weights that break the pattern, with the first place.
    CompressOptions options{.row_segments = weight.shape.row_segments,
                            .col_segments = weight.shape.col_segments};
    const nb::str name = python_text(weight.name);
    if (nb::borrow<nb::dict>(orders).contains(name))
      options.input_permutation = permutation_input(orders[name], "input_permutations");
    compress(from, pattern_for(weight), options);
    for (std::int64_t r = 0; r < dense.rows; ++r) std::memcpy(dense.row(r), from.row(r), row_bytes);
  };
}

WriteReport prune_checkpoint(const fs::path& model, const fs::path& out,
                             const PatternsArgument& pattern, nb::handle prune,
                             const nb::dict& input_permutations, Globs include, Globs exclude,
                             int threads) {
  const int used = thread_count(threads);
  const PatternOf pattern_for = pattern_by_weight(pattern);
  const DenseEdit edit = dense_edit(pattern_for, prune, input_permutations, used);
  nb::gil_scoped_release release;
  const Checkpoint input = Checkpoint::open(model);
  std::vector<LinearWeight> weights =
      input.linear_weights({.include = std::move(include), .exclude = std::move(exclude)});
  std::erase_if(weights, [&](const LinearWeight& w) { return pattern_for(w).is_dense(); });
  return write_dense(input, out, weights, edit, write_options(used));
}

WriteReport pack_checkpoint(const fs::path& model, const fs::path& out,
                            const std::optional<PatternsArgument>& pattern,
                            const std::map<std::string, nb::object>& input_permutations,
                            Globs include, Globs exclude, int threads) {
  const int used = thread_count(threads);
  const PatternOf wanted = pattern ? pattern_by_weight(*pattern) : PatternOf();
  std::map<std::string, Permutation> orders;
  for (const auto& [name, order] : input_permutations)
    orders.emplace(name, permutation_input(order, "input_permutations"));
  if (!wanted && !orders.empty())
    throw InvalidArgument("input_permutations need the patterns that they serve; pass pattern=");
  nb::gil_scoped_release release;
  const Checkpoint input = Checkpoint::open(model);
  check_output(model, out);
  std::vector<PackItem> found_items;
  for (LinearWeight& weight :
       input.linear_weights({.include = std::move(include), .exclude = std::move(exclude)})) {
    const Pattern found =
        wanted ? wanted(weight) : detect(input.read(weight, used).view(), {}, used).tightest;
    input.drop(weight);
    const bool permuted = orders.contains(weight.name);
    found_items.push_back({std::move(weight), found, permuted});
  }
  const std::vector<PackItem> items = worth_packing(found_items);
  if (items.empty())
    throw InvalidArgument(
        fmt::format("'{}': no linear weight gets smaller packed", model.string()));
  const auto compressor = [&](const PackItem& item, const DenseView& dense) {
    CompressOptions options = compress_options(item, used);
    if (item.input_permutation) options.input_permutation = orders.at(item.weight.name);
    return compress(dense, item.pattern, options);
  };
  return write_packed(input, out, items, compressor, write_options(used));
}

WriteReport unpack_checkpoint(const fs::path& packed, const fs::path& out, int threads) {
  const int used = thread_count(threads);
  nb::gil_scoped_release release;
  return write_unpacked(Checkpoint::open(packed), out, write_options(used));
}

void bind_values(nb::module_& module) {
  nb::class_<LinearWeight>(module, "LinearWeight",
                           "One weight [rows, cols] of a linear layer in a checkpoint.")
      .def_ro("name", &LinearWeight::name)
      .def_ro("tensor", &LinearWeight::tensor, "The tensor that holds it.")
      .def_prop_ro("role", [](const LinearWeight& w) { return std::string(role_name(w.role)); })
      .def_prop_ro("dtype", [](const LinearWeight& w) { return numpy_dtype(w.dtype); })
      .def_prop_ro("shape",
                   [](const LinearWeight& w) { return nb::make_tuple(w.shape.rows, w.shape.cols); })
      .def_prop_ro(
          "row_segments", [](const LinearWeight& w) { return w.shape.row_segments; },
          "Rows of fused projections; no vector reaches across them.")
      .def_prop_ro("col_segments", [](const LinearWeight& w) { return w.shape.col_segments; })
      .def_ro("transposed", &LinearWeight::transposed, "Stored as [cols, rows].")
      .def("__repr__", [](const LinearWeight& w) {
        return fmt::format("LinearWeight(\"{}\", shape=({}, {}), dtype={})", w.name, w.shape.rows,
                           w.shape.cols, dtype_name(w.dtype));
      });
  nb::class_<WriteReport>(module, "WriteReport")
      .def_ro("tensor_bytes_in", &WriteReport::tensor_bytes_in)
      .def_ro("tensor_bytes_out", &WriteReport::tensor_bytes_out)
      .def_ro("left_out", &WriteReport::left_out, "Files that did not come along.");
}

void bind_class(nb::module_& module) {
  nb::class_<Checkpoint>(module, "Checkpoint",
                         "A Hugging Face model directory with safetensors, read only.")
      .def(
          "__init__",
          [](Checkpoint* self, const fs::path& directory) {
            new (self) Checkpoint(Checkpoint::open(directory));
          },
          "directory"_a, "Opens and checks it. Raises FileError with the way out.")
      .def_prop_ro("model_type", &Checkpoint::model_type)
      .def_prop_ro("tensor_bytes", &Checkpoint::tensor_bytes)
      .def_prop_ro("is_packed", &Checkpoint::is_packed)
      .def(
          "linear_weights",
          [](const Checkpoint& self, Globs include, Globs exclude) {
            return self.linear_weights(
                {.include = std::move(include), .exclude = std::move(exclude)});
          },
          nb::kw_only(), "include"_a = Globs{}, "exclude"_a = Globs{},
          "The weights that pruning takes by default, or those that the globs choose.")
      .def(
          "read",
          [](const Checkpoint& self, const LinearWeight& weight, int threads) {
            return read_weight(self, weight, threads);
          },
          "weight"_a, nb::kw_only(), "threads"_a = 0, "The weight [rows, cols], a new array.")
      .def(
          "read",
          [](const Checkpoint& self, const std::string& name, int threads) {
            return read_weight(self, linear_weight(self.linear_weights(), name), threads);
          },
          "weight"_a, nb::kw_only(), "threads"_a = 0)
      .def(
          "packed_weights",
          [](const Checkpoint& self) {
            nb::dict patterns;
            for (const PackedEntry& entry : self.packed_weights())
              patterns[python_text(entry.weight.name)] = nb::cast(entry.pattern);
            return patterns;
          },
          "The packed weights' patterns by name.")
      .def("read_packed", &read_packed, "name"_a, nb::kw_only(), "threads"_a = 0,
           "A packed weight as a SparseMatrix.");
}

}  // namespace

void bind_checkpoint(nb::module_& module) {
  bind_values(module);
  bind_class(module);
  module.def(
      "prune_checkpoint", &prune_checkpoint, "model_dir"_a, "out_dir"_a, "pattern"_a, nb::kw_only(),
      "prune"_a = nb::none(), "input_permutations"_a = nb::dict(), "include"_a = Globs{},
      "exclude"_a = Globs{}, "threads"_a = 0,
      "Writes the checkpoint with its linear weights pruned, dense with zeros: it opens in "
      "stock transformers. By magnitude, or by prune(weight: LinearWeight, array) -> array "
      "of the same dtype and shape that satisfies the pattern. pattern may be a dict by name; "
      "weights that it leaves out stay as they are. input_permutations: a dict of the orders of "
      "columns in which what prune returns satisfies the pattern, by name; prune may add to it. "
      "out_dir appears complete or not at all.");
  module.def("pack_checkpoint", &pack_checkpoint, "model_dir"_a, "out_dir"_a,
             "pattern"_a = nb::none(), nb::kw_only(),
             "input_permutations"_a = std::map<std::string, nb::object>{}, "include"_a = Globs{},
             "exclude"_a = Globs{}, "threads"_a = 0,
             "Writes a pruned checkpoint compressed; pattern None: the tightest that each weight "
             "satisfies; a dict: patterns by name. Weights that would not get smaller stay dense. "
             "input_permutations: the orders of columns in which weights satisfy their patterns.");
  module.def(
      "check_output", &check_output, "model_dir"_a, "out_dir"_a,
      "Raises FileError or InvalidArgument if the directory cannot be written: for long work "
      "before it.");
  module.def("unpack_checkpoint", &unpack_checkpoint, "packed_dir"_a, "out_dir"_a, nb::kw_only(),
             "threads"_a = 0, "Writes the dense checkpoint with zeros of a packed one.");
}

}  // namespace coppice::python
