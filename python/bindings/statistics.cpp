// Statistics files: read, and shards of them added up.
#include "coppice/statistics.h"

#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "arrays.h"
#include "bindings.h"
#include "coppice/error.h"
#include "fisher.h"

using namespace nb::literals;
namespace fs = std::filesystem;

namespace coppice::python {
namespace {

const InputInfo& input_of(const StatisticsFile& file, const std::string& weight) {
  const InputInfo* input = file.input_of(weight);
  if (input == nullptr)
    throw InvalidArgument(
        fmt::format("'{}' has no statistics of '{}'; weights lists them", file.name(), weight));
  return *input;
}

nb::object gram_of(const StatisticsFile& self, const std::string& weight, int threads) {
  const InputInfo& input = input_of(self, weight);
  if (!input.has_gram)
    throw InvalidArgument(
        fmt::format("'{}' has no Gram matrix of '{}', only sums of squares", self.name(), weight));
  const int used = thread_count(threads);
  InputStatistics read;
  {
    nb::gil_scoped_release release;
    read = self.read(input, used);
  }
  return array_of(read.gram, {read.cols, read.cols});
}

nb::object square_sums_of(const StatisticsFile& self, const std::string& weight) {
  const InputStatistics read = self.read_square_sums(input_of(self, weight));
  return array_of(read.square_sums, {read.cols});
}

void merge(const std::vector<fs::path>& shards, const fs::path& out, int threads) {
  const int used = thread_count(threads);
  nb::gil_scoped_release release;
  merge_statistics(shards, out, used);
}

}  // namespace

void bind_statistics(nb::module_& module) {
  nb::class_<StatisticsFile>(module, "Statistics",
                             "A statistics file (docs/statistics.md), read only: its numbers are "
                             "read, and checked, when they are asked for.")
      .def(
          "__init__",
          [](StatisticsFile* self, const fs::path& path) {
            new (self) StatisticsFile(StatisticsFile::open(path));
          },
          "path"_a)
      .def_prop_ro(
          "set",
          [](const StatisticsFile& self) { return std::string(set_name(self.contents().set)); },
          "\"calibration\" or \"held_out\".")
      .def_prop_ro(
          "weights", [](const StatisticsFile& self) { return self.contents().weights; },
          "The name of the input that each weight multiplies.")
      .def(
          "samples",
          [](const StatisticsFile& self, const std::string& weight) {
            return input_of(self, weight).samples;
          },
          "weight"_a, "How many samples of the weight's input were summed.")
      .def("gram", &gram_of, "weight"_a, nb::kw_only(), "threads"_a = 0,
           "float64 [cols, cols]: X^T X of the weight's input, a new array.")
      .def("square_sums", &square_sums_of, "weight"_a, "float64 [cols]: its diagonal.")
      .def("fisher", &fisher_of, "weight"_a, nb::kw_only(), "threads"_a = 0,
           "(sums, samples) of products of the weight's gradients, as fisher_prune takes them.");
  module.def("merge_statistics", &merge, "shards"_a, "out"_a, nb::kw_only(), "threads"_a = 0,
             "Adds up statistics files of one set; what only some of them hold is taken from "
             "those. Needs little memory.");
}

}  // namespace coppice::python
