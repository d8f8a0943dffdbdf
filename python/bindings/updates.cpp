// Pruning with compensation, and the sums that it needs.
#include <fmt/format.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "arrays.h"
#include "bindings.h"
#include "coppice/update.h"
#include "fisher.h"
#include "gram.h"
#include "options.h"

using namespace nb::literals;

namespace coppice::python {
namespace {

using Segments = std::vector<std::int64_t>;

FisherSearch fisher_search(std::string_view name) {
  constexpr std::array<NamedValue<FisherSearch>, 3> kNames{
      {{"automatic", FisherSearch::automatic},
       {"exhaustive", FisherSearch::exhaustive},
       {"pairwise", FisherSearch::pairwise}}};
  return named("search", name, kNames);
}

// An UpdateResult with the new weight, which is a float32 array.
struct Update {
  UpdateResult result;
  nb::object weight;
};

GroupChoice group_choice(std::string_view name) {
  constexpr std::array<NamedValue<GroupChoice>, 3> kNames{{{"automatic", GroupChoice::automatic},
                                                           {"saliency", GroupChoice::saliency},
                                                           {"joint", GroupChoice::joint}}};
  return named("choice", name, kNames);
}

// Calls prune(weights, rows, cols) on a float32 copy of the weight.
template <typename Prune>
Update update(const DenseView& dense, const Prune& prune) {
  const WeightOutput out = new_weight(Dtype::f32, dense.rows, dense.cols);
  const std::span<float> weights{reinterpret_cast<float*>(out.view.data),
                                 static_cast<std::size_t>(dense.rows * dense.cols)};
  Update done;
  done.weight = out.array;
  nb::gil_scoped_release release;
  for (std::int64_t r = 0; r < dense.rows; ++r)
    to_float(dense.dtype, dense.row(r),
             weights.subspan(static_cast<std::size_t>(r * dense.cols),
                             static_cast<std::size_t>(dense.cols)));
  done.result = prune(weights, dense.rows, dense.cols);
  return done;
}

Update obs(nb::handle weight, const PatternArgument& pattern, nb::handle gram, double damping,
           int block, std::string_view choice, std::string_view columns, int refinements,
           Segments row_segments, Segments col_segments, int threads) {
  const Pattern parsed = pattern_of(pattern);
  const ObsOptions options{.row_segments = std::move(row_segments),
                           .col_segments = std::move(col_segments),
                           .damping = damping,
                           .block = block,
                           .choice = group_choice(choice),
                           .columns = column_search(columns),
                           .refinements = refinements,
                           .threads = thread_count(threads)};
  const WeightInput input = weight_input(weight, "weight");
  const Numbers<double> sums = gram_input(gram, input.view.cols, options.threads);
  return update(input.view, [&](auto weights, auto rows, auto cols) {
    return obs_prune(weights, rows, cols, parsed, sums.values, options);
  });
}

Update admm(nb::handle weight, const PatternArgument& pattern, nb::handle gram, double damping,
            double penalty, int iterations, int refinements, std::string_view columns,
            Segments row_segments, Segments col_segments, int threads) {
  const Pattern parsed = pattern_of(pattern);
  const AdmmOptions options{.row_segments = std::move(row_segments),
                            .col_segments = std::move(col_segments),
                            .damping = damping,
                            .penalty = penalty,
                            .iterations = iterations,
                            .refinements = refinements,
                            .columns = column_search(columns),
                            .threads = thread_count(threads)};
  const WeightInput input = weight_input(weight, "weight");
  const Numbers<double> sums = gram_input(gram, input.view.cols, options.threads);
  return update(input.view, [&](auto weights, auto rows, auto cols) {
    return admm_prune(weights, rows, cols, parsed, sums.values, options);
  });
}

Update fisher(nb::handle weight, const PatternArgument& pattern, nb::handle sums,
              std::int64_t samples, double damping, std::string_view search, Segments row_segments,
              Segments col_segments, int threads) {
  const Pattern parsed = pattern_of(pattern);
  const FisherOptions options{.row_segments = std::move(row_segments),
                              .col_segments = std::move(col_segments),
                              .damping = damping,
                              .search = fisher_search(search),
                              .threads = thread_count(threads)};
  const WeightInput input = weight_input(weight, "weight");
  const FisherStatistics given = fisher_input(sums, samples, options.threads);
  return update(input.view, [&](auto weights, auto rows, auto cols) {
    return fisher_prune(weights, rows, cols, parsed, given, options);
  });
}

void bind_gram(nb::module_& module) {
  nb::class_<GramAccumulator>(
      module, "Gram", "Sums X^T X over batches of a layer's inputs; holds 8 * cols^2 bytes.")
      .def(
          "__init__",
          [](GramAccumulator* self, std::int64_t cols, int threads) {
            new (self) GramAccumulator(cols, thread_count(threads));
          },
          "cols"_a, nb::kw_only(), "threads"_a = 0)
      .def(
          "add",
          [](GramAccumulator& self, nb::handle x, std::string_view layout) {
            const ActivationsInput input = activations_input(x, "x", layout_of(layout));
            // The GIL is held: two threads that add to one object take turns.
            self.add(input.view);
          },
          "x"_a, nb::kw_only(), "layout"_a = "token",
          "Adds a batch, float32 [tokens, cols] (or [cols, tokens] with layout \"feature\").")
      .def_prop_ro("samples", &GramAccumulator::samples)
      .def_prop_ro(
          "gram",
          [](const GramAccumulator& self) {
            const InputStatistics s = self.statistics();
            return array_of(s.gram, {s.cols, s.cols});
          },
          "float64 [cols, cols], a new array.")
      .def_prop_ro(
          "square_sums",
          [](const GramAccumulator& self) {
            const InputStatistics s = self.statistics();
            return array_of(s.square_sums, {s.cols});
          },
          "float64 [cols]: its diagonal.");
}

void bind_result(nb::module_& module) {
  nb::class_<Update>(module, "UpdateResult",
                     "Errors are ||X W^T - X V^T|| / ||X W^T|| on the statistics given.")
      .def_ro("weight", &Update::weight, "The new weight, float32, +0 where the mask is clear.")
      .def_prop_ro("mask", [](const Update& u) { return mask_array(u.result.mask); })
      .def_prop_ro("error", [](const Update& u) { return u.result.error; })
      .def_prop_ro(
          "uncompensated_error", [](const Update& u) { return u.result.uncompensated_error; },
          "The same mask, the kept weights as they were.")
      .def_prop_ro(
          "magnitude_error", [](const Update& u) { return u.result.magnitude_error; },
          "Magnitude pruning, for comparison.")
      .def_prop_ro(
          "damping", [](const Update& u) { return u.result.damping; }, "Used in the end.")
      .def_prop_ro(
          "dead_columns", [](const Update& u) { return u.result.dead_columns; },
          "Inputs that were always zero.")
      .def_prop_ro("iterations", [](const Update& u) { return u.result.iterations; })
      .def_prop_ro(
          "note", [](const Update& u) { return u.result.note; },
          "What was done beyond the usual; often empty.");
}

}  // namespace

void bind_updates(nb::module_& module) {
  bind_gram(module);
  bind_result(module);
  module.def(
      "obs_prune", &obs, "weight"_a, "pattern"_a, "gram"_a, nb::kw_only(), "damping"_a = 0.01,
      "block"_a = 128, "choice"_a = "automatic", "columns"_a = "automatic", "refinements"_a = 20,
      "row_segments"_a = Segments{}, "col_segments"_a = Segments{}, "threads"_a = 0,
      "Optimal Brain Surgeon for every pattern (docs/second_order.md): the weights that stay "
      "are moved so that the layer's output changes least, at last by steps of conjugate gradients "
      "(refinements). The weight given is not changed. "
      "gram: float64 [cols, cols] (Gram.gram).");
  module.def("admm_prune", &admm, "weight"_a, "pattern"_a, "gram"_a, nb::kw_only(),
             "damping"_a = 0.01, "penalty"_a = 0.1, "iterations"_a = 300, "refinements"_a = 20,
             "columns"_a = "automatic", "row_segments"_a = Segments{},
             "col_segments"_a = Segments{}, "threads"_a = 0,
             "ADMM on the output's change, then conjugate gradients on the support; never worse "
             "than obs_prune, and slower.");
  module.def(
      "fisher_prune", &fisher, "weight"_a, "pattern"_a, "sums"_a, "samples"_a, nb::kw_only(),
      "damping"_a = 0.01, "search"_a = "automatic", "row_segments"_a = Segments{},
      "col_segments"_a = Segments{}, "threads"_a = 0,
      "By the second-order change of the loss, from gradients (docs/second_order.md). sums: "
      "float64 [rows * ceil(cols / B), B, B], of g g^T over `samples` gradients g of blocks "
      "of B weights of a row (Statistics.fisher). Errors are those of the loss, sqrt(d^T F d "
      "/ w^T F w), of the weights' change d.");
}

}  // namespace coppice::python
