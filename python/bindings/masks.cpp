// Scores and masks: which weights a pattern keeps.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "arrays.h"
#include "bindings.h"
#include "coppice/output_error.h"
#include "coppice/permutation_search.h"
#include "coppice/prune.h"
#include "coppice/score.h"
#include "gram.h"
#include "options.h"

using namespace nb::literals;

namespace coppice::python {
namespace {

using Segments = std::vector<std::int64_t>;

// The same of scores and of weights, which only messages tell apart.
template <bool of_weight>
nb::object mask_of(nb::handle scores, const PatternArgument& pattern, Segments row_segments,
                   Segments col_segments, nb::handle input_permutation, std::string_view columns,
                   int threads) {
  const WeightInput input = weight_input(scores, of_weight ? "weight" : "scores");
  const std::vector<std::uint32_t> permutation =
      permutation_input(input_permutation, "input_permutation");
  const Pattern parsed = pattern_of(pattern);
  const MaskOptions options{.row_segments = std::move(row_segments),
                            .col_segments = std::move(col_segments),
                            .columns = column_search(columns),
                            .threads = thread_count(threads)};
  MaskResult result;
  {
    nb::gil_scoped_release release;
    result = permutation.empty() ? select_mask(input.view, parsed, options)
                                 : select_mask_permuted(input.view, parsed, permutation, options);
  }
  return mask_array(result.mask);
}

nb::object scores_of(nb::handle weight, std::string_view kind, nb::handle square_sums,
                     int threads) {
  const WeightInput input = weight_input(weight, "weight");
  const std::optional<ScoreKind> parsed = parse_score(kind);
  if (!parsed) bad_name("kind", kind, {"magnitude", "wanda", "ria"});
  Numbers<double> sums;
  const std::array<std::int64_t, 1> shape{input.view.cols};
  if (!square_sums.is_none()) sums = numbers<double>(square_sums, "square_sums", shape);
  const WeightOutput out = new_weight(Dtype::f32, input.view.rows, input.view.cols);
  const std::span<float> values{reinterpret_cast<float*>(out.view.data),
                                static_cast<std::size_t>(out.view.rows * out.view.cols)};
  const int used = thread_count(threads);
  {
    nb::gil_scoped_release release;
    score_weights(input.view, *parsed, sums.values, values, used);
  }
  return out.array;
}

nb::object obs_scores(nb::handle weight, nb::handle gram, double damping, int threads) {
  const WeightInput input = weight_input(weight, "weight");
  const int used = thread_count(threads);
  const Numbers<double> sums = gram_input(gram, input.view.cols, used);
  const WeightOutput out = new_weight(Dtype::f32, input.view.rows, input.view.cols);
  const std::span<float> values{reinterpret_cast<float*>(out.view.data),
                                static_cast<std::size_t>(out.view.rows * out.view.cols)};
  {
    nb::gil_scoped_release release;
    score_weights_obs(input.view, sums.values, damping, values, used);
  }
  return out.array;
}

double error_of(nb::handle before, nb::handle after, nb::handle gram, int threads) {
  const WeightInput first = weight_input(before, "before");
  const WeightInput second = weight_input(after, "after");
  const int used = thread_count(threads);
  const Numbers<double> sums = gram_input(gram, first.view.cols, used);
  nb::gil_scoped_release release;
  return output_error(first.view, second.view, sums.values, used);
}

}  // namespace

void bind_masks(nb::module_& module) {
  module.def("score_mask", &mask_of<false>, "scores"_a, "pattern"_a, nb::kw_only(),
             "row_segments"_a = Segments{}, "col_segments"_a = Segments{},
             "input_permutation"_a = nb::none(), "columns"_a = "automatic", "threads"_a = 0,
             "The bool mask [rows, cols] of the weights whose scores' absolute values sum up "
             "highest under the pattern.\n\ncolumns says how V:N:M looks for the columns of a "
             "vector: \"automatic\", \"exact\", \"swaps\" or \"greedy\".");
  module.def("magnitude_mask", &mask_of<true>, "weight"_a, "pattern"_a, nb::kw_only(),
             "row_segments"_a = Segments{}, "col_segments"_a = Segments{},
             "input_permutation"_a = nb::none(), "columns"_a = "automatic", "threads"_a = 0,
             "The bool mask [rows, cols] of the weights of largest total magnitude under the "
             "pattern; see score_mask.");
  module.def("score_weights", &scores_of, "weight"_a, "kind"_a, "square_sums"_a = nb::none(),
             nb::kw_only(), "threads"_a = 0,
             "float32 scores of a weight: \"magnitude\", \"wanda\" or \"ria\". square_sums: "
             "float64 [cols], sums of squares of the layer's inputs (Gram.square_sums).");
  module.def("score_weights_obs", &obs_scores, "weight"_a, "gram"_a, nb::kw_only(),
             "damping"_a = 0.01, "threads"_a = 0,
             "float32 scores by what the output loses if a weight alone is pruned and the others "
             "make up for it. gram: float64 [cols, cols] (Gram.gram).");
  module.def("output_error", &error_of, "before"_a, "after"_a, "gram"_a, nb::kw_only(),
             "threads"_a = 0,
             "||X W^T - X V^T|| / ||X W^T|| of two weights, from the Gram matrix X^T X of the "
             "layer's input (float64 [cols, cols]).");
}

}  // namespace coppice::python
