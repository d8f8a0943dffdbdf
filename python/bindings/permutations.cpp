// The order of channels under which a pattern keeps more.
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "arrays.h"
#include "bindings.h"
#include "coppice/permutation_search.h"

using namespace nb::literals;

namespace coppice::python {
namespace {

using Segments = std::vector<std::int64_t>;

// Lets Ctrl-C through: what the handler raises ends the search.
bool go_on(const PermutationProgress&) {
  nb::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
  return true;
}

template <auto search>
PermutationResult find(nb::handle scores, const PatternArgument& pattern, Segments row_segments,
                       Segments col_segments, std::uint64_t seed, std::int64_t assignment_size,
                       double tolerance, std::int64_t max_passes, double limit_seconds,
                       int threads) {
  const WeightInput input = weight_input(scores, "scores");
  const Pattern parsed = pattern_of(pattern);
  const PermutationOptions options{.row_segments = std::move(row_segments),
                                   .col_segments = std::move(col_segments),
                                   .threads = thread_count(threads),
                                   .seed = seed,
                                   .assignment_size = assignment_size,
                                   .tolerance = tolerance,
                                   .max_passes = max_passes,
                                   .limit_seconds = limit_seconds,
                                   .progress = go_on};
  nb::gil_scoped_release release;
  return search(input.view, parsed, options);
}

template <auto search>
void bind_search(nb::module_& module, const char* name, const char* doc) {
  module.def(name, &find<search>, "scores"_a, "pattern"_a, nb::kw_only(),
             "row_segments"_a = Segments{}, "col_segments"_a = Segments{}, "seed"_a = 0,
             "assignment_size"_a = 0, "tolerance"_a = 1e-4, "max_passes"_a = 1000,
             "limit_seconds"_a = 600.0, "threads"_a = 0, doc);
}

}  // namespace

void bind_permutations(nb::module_& module) {
  nb::class_<PermutationResult>(module, "PermutationResult")
      .def_prop_ro(
          "permutation", [](const PermutationResult& r) { return array_of(r.permutation); },
          "uint32: the new channel i is the old channel permutation[i].")
      .def_ro("total_score", &PermutationResult::total_score, "Of all weights.")
      .def_ro("identity_score", &PermutationResult::identity_score, "Kept in the given order.")
      .def_ro("kept_score", &PermutationResult::kept_score, "Kept in the order found; never less.")
      .def_ro("passes", &PermutationResult::passes)
      .def_ro("seconds", &PermutationResult::seconds)
      .def_ro("converged", &PermutationResult::converged, "False: a limit ended the search.");
  bind_search<find_input_permutation>(
      module, "find_input_permutation",
      "The order of columns under which the pattern keeps more of these scores "
      "(docs/permutation.md). Pass its permutation to score_mask and compress. The same seed gives "
      "the same result on any number of threads.");
  bind_search<find_output_permutation>(
      module, "find_output_permutation",
      "The order of rows under which the pattern keeps more; for patterns whose rows share their "
      "columns.");
}

}  // namespace coppice::python
