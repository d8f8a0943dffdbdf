#include "coppice/pattern.h"

#include <nanobind/operators.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <functional>

#include "arrays.h"
#include "bindings.h"
#include "coppice/structure_decay.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace coppice::python {
namespace {

const char* kind_name(const Pattern& pattern) {
  switch (pattern.kind()) {
    case PatternKind::dense:
      return "dense";
    case PatternKind::element:
      return "element";
    case PatternKind::vector:
      return "vector";
    case PatternKind::block:
      return "block";
    case PatternKind::vnm:
      return "vnm";
  }
  return "";
}

void bind_structure_decay(nb::module_& module) {
  nb::class_<DecayStep>(module, "DecayStep", "One step of structure_decay.")
      .def_ro("pattern", &DecayStep::pattern)
      .def_ro("epoch", &DecayStep::epoch, "Before which to prune to it.");
  module.def(
      "structure_decay",
      [](const PatternArgument& pattern, double first_density, int steps, std::int64_t first_epoch,
         std::int64_t epochs) {
        return structure_decay(pattern_of(pattern), {.first_density = first_density,
                                                     .steps = steps,
                                                     .first_epoch = first_epoch,
                                                     .epochs = epochs});
      },
      "pattern"_a, nb::kw_only(), "first_density"_a = 0.625, "steps"_a = 0, "first_epoch"_a = 2,
      "epochs"_a = 4,
      "Patterns of falling density that end in the one given, for pruning between epochs of "
      "training (VENOM, section 6; docs/pattern_choice.md). steps=0: one for each weight that a "
      "group loses, at most 8.");
}

}  // namespace

void bind_pattern(nb::module_& module) {
  nb::class_<Pattern>(
      module, "Pattern",
      "One N:M sparsity: \"2:4\", \"vw32/8:32\", \"bw4x4/8:32\", \"64:2:8\", \"dense\". N:M is "
      "always N kept of M. Immutable; equal patterns describe the same thing.")
      .def(
          "__init__",
          [](Pattern* self, std::string_view text) { new (self) Pattern(Pattern::parse(text)); },
          "text"_a,
          "Parses a spelling. Raises InvalidArgument, with the grammar, on anything else.")
      .def_static("make", &Pattern::make, "vec_rows"_a, "block_cols"_a, "kept"_a, "group"_a,
                  "inner_kept"_a = 0, "From the five numbers, checked and normalised.")
      .def_static("from_json", &Pattern::from_json, "json"_a, "From what to_json gives.")
      .def_ro("vec_rows", &Pattern::vec_rows, "Consecutive rows that share a choice of columns.")
      .def_ro("block_cols", &Pattern::block_cols, "Columns of a block.")
      .def_ro("kept", &Pattern::kept, "Blocks kept of a group.")
      .def_ro("group", &Pattern::group, "Blocks in a group.")
      .def_ro("inner_kept", &Pattern::inner_kept,
              "Columns kept of the group's, row by row; 0 without that second level.")
      .def_prop_ro("kind", &kind_name, "\"dense\", \"element\", \"vector\", \"block\" or \"vnm\".")
      .def_prop_ro("is_dense", &Pattern::is_dense)
      .def_prop_ro("fits_sparse_tensor_cores", &Pattern::fits_sparse_tensor_cores,
                   "2 of 4, alone or inside chosen columns.")
      .def_prop_ro("density", &Pattern::density,
                   "Kept weights over all weights, away from short groups.")
      .def_prop_ro("sparsity", &Pattern::sparsity, "1 - density.")
      .def("explain", &Pattern::describe, "The pattern in one sentence of plain words.")
      .def("to_json", &Pattern::to_json)
      .def("__str__", &Pattern::to_string)
      .def("__repr__", [](const Pattern& p) { return "Pattern(\"" + p.to_string() + "\")"; })
      .def("__hash__", [](const Pattern& p) { return std::hash<std::string>()(p.to_string()); })
      .def("__reduce__",
           [](const Pattern& p) {
             return nb::make_tuple(nb::type<Pattern>(), nb::make_tuple(p.to_string()));
           })
      .def(nb::self == nb::self);
  bind_structure_decay(module);
}

}  // namespace coppice::python
