// Channels between two layers of a checkpoint, reordered.
#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "arrays.h"
#include "bindings.h"
#include "checkpoint.h"
#include "coppice/error.h"
#include "coppice/permutation_fold.h"

using namespace nb::literals;
namespace fs = std::filesystem;

namespace coppice::python {
namespace {

nb::object columns_of(const Fold& fold, std::int64_t copy) {
  if (copy < 0 || copy >= fold.copies())
    throw InvalidArgument(fmt::format("copy: got {}, needs 0 to {}", copy, fold.copies() - 1));
  const std::vector<std::size_t> columns = fold.columns(copy);
  return array_of(std::vector<std::uint32_t>(columns.begin(), columns.end()));
}

std::vector<std::string> tensors_of(const Fold& fold) {
  std::vector<std::string> names;
  for (const FoldSlice& slice : fold.slices) names.push_back(slice.tensor);
  return names;
}

WriteReport write(const fs::path& model, const fs::path& out,
                  const std::map<std::string, nb::object>& permutations, int threads) {
  std::map<std::string, Permutation> orders;
  for (const auto& [name, order] : permutations)
    orders.emplace(name, permutation_input(order, "permutation"));
  const WriteOptions options = write_options(thread_count(threads));
  nb::gil_scoped_release release;
  const Checkpoint input = Checkpoint::open(model);
  std::vector<FoldedPermutation> folded;
  for (Fold& fold : find_folds(input))
    if (const auto order = orders.extract(fold.name))
      folded.push_back({std::move(fold), order.mapped()});
  if (!orders.empty())
    throw InvalidArgument(fmt::format("'{}' has no fold '{}'; find_folds lists them",
                                      model.string(), orders.begin()->first));
  return write_folded(input, out, folded, options);
}

}  // namespace

void bind_folds(nb::module_& module) {
  nb::class_<Fold>(module, "Fold",
                   "Channels between two layers that can be reordered (docs/permutation.md).")
      .def_ro("name", &Fold::name)
      .def_ro("producer", &Fold::producer, "The weight whose rows they are; the first of them.")
      .def_ro("consumer", &Fold::consumer, "The weight whose columns they are.")
      .def_ro("size", &Fold::size, "Channels.")
      .def_ro("head_channels", &Fold::head_channels,
              "Permutations stay inside heads of so many; 0: free.")
      .def_prop_ro("segments", &Fold::segments, "Lengths of the heads; empty if free.")
      .def_prop_ro("tensors", &tensors_of, "All that move.")
      .def_prop_ro("copies", &Fold::copies, "How often the consumer reads each channel.")
      .def("columns", &columns_of, "copy"_a,
           "The consumer's columns in which a copy of the channels is.")
      .def(
          "column_order",
          [](const Fold& fold, nb::handle permutation) {
            return array_of(fold.column_order(permutation_input(permutation, "permutation")));
          },
          "permutation"_a, "The order that the consumer's columns get by one of the channels.");
  module.def("find_folds", &find_folds, "checkpoint"_a,
             "The folds of a dense Checkpoint; none of models whose layers are not known.");
  module.def("write_folded", &write, "model_dir"_a, "out_dir"_a, "permutations"_a, nb::kw_only(),
             "threads"_a = 0,
             "Writes the checkpoint with channels reordered: {name of a fold: permutation}. The "
             "model computes what it did.");
}

}  // namespace coppice::python
