#include "layer_pruner.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "coppice/error.h"
#include "coppice/fisher_order.h"
#include "coppice/permutation_search.h"
#include "coppice/score.h"
#include "core/parallel_for.h"
#include "curvature.h"
#include "dense_copy.h"
#include "prune/second_order/candidate.h"
#include "selection.h"

namespace coppice::cli {
namespace {

std::vector<float> floats_of(const DenseView& dense, int threads) {
  std::vector<float> values(static_cast<std::size_t>(dense.rows * dense.cols));
  parallel_ranges(dense.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r)
      to_float(dense.dtype, dense.row(r),
               std::span(values).subspan(static_cast<std::size_t>(r * dense.cols),
                                         static_cast<std::size_t>(dense.cols)));
  });
  return values;
}

void store_floats(const std::vector<float>& values, const MutableDenseView& dense, int threads) {
  parallel_ranges(dense.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r)
      from_float(dense.dtype,
                 std::span(values).subspan(static_cast<std::size_t>(r * dense.cols),
                                           static_cast<std::size_t>(dense.cols)),
                 dense.row(r));
  });
}

void copy_values(const DenseCopy& from, const MutableDenseView& to) {
  const auto row_bytes = static_cast<std::size_t>(to.cols * dtype_bytes(to.dtype));
  for (std::int64_t r = 0; r < to.rows; ++r) std::memcpy(to.row(r), from.view.row(r), row_bytes);
}

// The share that a mask keeps of the sum of w² Σx², in the order of the rows: the outputs' squares
// if inputs were independent.
double kept_of_outputs(const DenseView& dense, std::span<const double> square_sums,
                       const Mask& mask) {
  double total = 0, kept = 0;
  std::vector<float> row(static_cast<std::size_t>(dense.cols));
  for (std::int64_t r = 0; r < dense.rows; ++r) {
    to_float(dense.dtype, dense.row(r), row);
    for (std::int64_t c = 0; c < dense.cols; ++c) {
      const double weight = row[static_cast<std::size_t>(c)];
      const double square = weight * weight * square_sums[static_cast<std::size_t>(c)];
      total += square;
      if (mask.get(r, c)) kept += square;
    }
  }
  return total > 0 ? kept / total : 1;
}

FisherSearch parse_search(const std::optional<std::string>& name) {
  if (name == "exhaustive") return FisherSearch::exhaustive;
  if (name == "pairwise") return FisherSearch::pairwise;
  return FisherSearch::automatic;
}

GroupChoice parse_choice(const std::optional<std::string>& name) {
  if (name == "joint") return GroupChoice::joint;
  if (name == "saliency") return GroupChoice::saliency;
  return GroupChoice::automatic;
}

}  // namespace

std::optional<WeightShape> LayerPruner::order_shape(const LinearWeight& weight,
                                                    const WeightShape& shape,
                                                    const Pattern& pattern) const {
  const std::int64_t block = scoring_.fisher_block(weight);
  if (block == 0) return shape;
  // Of shared heads the columns are here once: they have to be whole blocks.
  if (shape.cols != weight.shape.cols &&
      std::ranges::any_of(shape.col_segments, [&](auto head) { return head % block != 0; }))
    return std::nullopt;
  return cut_at_blocks(shape, block, pattern);
}

void LayerPruner::find_order(PrunedLayer& layer, const DenseView& scores, int threads) const {
  const auto shape = order_shape(layer.weight, layer.weight.shape, layer.pattern);
  if (!shape) {
    prune::add_note(layer.note, "no other order: Fisher blocks end inside of groups");
    return;
  }
  ChannelOrder order = cli::find_order(scores, *shape, layer.pattern, options_.order, threads);
  if (!order.converged)
    prune::add_note(layer.note, fmt::format("the search for an order ended after {} s",
                                            options_.order.seconds));
  if (order.permutation.empty()) return;
  layer.input_permutation = std::move(order.permutation);
  layer.order_gain = order.gain;
}

Curvature LayerPruner::curvature_of(const LinearWeight& weight, const std::string& method,
                                    int threads) const {
  if (method == "fisher") return {.fisher = scoring_.fisher(weight, threads)};
  return {.input = scoring_.statistics(weight, threads)};
}

std::vector<float> LayerPruner::order_scores(const LinearWeight& weight, const DenseView& dense,
                                             int threads) const {
  const bool damaged = check_finite(weight.name, dense, options_.allow_nonfinite, threads);
  const std::string& method = scoring_.method_of(weight);
  if (damaged || method == "magnitude") return finite_scores(dense);
  if (!moves_weights(method)) return scoring_.scores(weight, dense, threads);
  return curvature_of(weight, method, threads)
      .scores(dense, options_.scoring.damping.value_or(ObsOptions{}.damping), threads);
}

MaskResult LayerPruner::select(const PrunedLayer& layer, const DenseView& scores,
                               const MaskOptions& options) const {
  try {
    return layer.input_permutation.empty()
               ? select_mask(scores, layer.pattern, options)
               : select_mask_permuted(scores, layer.pattern, layer.input_permutation, options);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(fmt::format("'{}': {}", layer.weight.name, error.what()));
  }
}

// Fills in the layer's scores. `damaged`: a weight is NaN or infinite.
MaskResult LayerPruner::choose(PrunedLayer& layer, const DenseView& dense, bool damaged,
                               bool reorder, int threads) const {
  const LinearWeight& weight = layer.weight;
  const MaskOptions options{weight.shape.row_segments, weight.shape.col_segments, options_.columns,
                            threads};
  const std::vector<float> repaired = damaged ? finite_scores(dense) : std::vector<float>();
  const DenseView finite = damaged ? dense_view(repaired, dense.rows, dense.cols) : dense;
  MaskResult result;
  if (layer.scored_by == "magnitude") {
    if (reorder) find_order(layer, finite, threads);
    result = damaged || !layer.input_permutation.empty()
                 ? select(layer, finite, options)
                 : engine_.mask(dense, layer.pattern, options);
    if (!layer.input_permutation.empty()) sum_magnitudes(finite, threads, result);
  } else {
    const std::vector<float> scores = scoring_.scores(weight, finite, threads);
    const DenseView view = dense_view(scores, dense.rows, dense.cols);
    if (reorder) find_order(layer, view, threads);
    result = select(layer, view, options);
    if (result.total_score > 0) layer.kept_of_scores = result.kept_score / result.total_score;
    sum_magnitudes(finite, threads, result);
  }
  return result;
}

UpdateResult LayerPruner::run_update(const PrunedLayer& layer, std::span<float> weights,
                                     const Curvature& curvature, int threads) const {
  const WeightShape& shape = layer.weight.shape;
  const ScoringOptions& chosen = options_.scoring;
  const double damping = chosen.damping.value_or(ObsOptions{}.damping);
  if (layer.scored_by == "fisher")
    return fisher_prune(weights, shape.rows, shape.cols, layer.pattern, curvature.fisher,
                        {.row_segments = shape.row_segments,
                         .col_segments = shape.col_segments,
                         .damping = damping,
                         .search = parse_search(chosen.choice),
                         .threads = threads});
  if (layer.scored_by == "obs")
    return obs_prune(weights, shape.rows, shape.cols, layer.pattern, curvature.gram(),
                     {.row_segments = shape.row_segments,
                      .col_segments = shape.col_segments,
                      .damping = damping,
                      .choice = parse_choice(chosen.choice),
                      .columns = options_.columns,
                      .refinements = chosen.refinements.value_or(ObsOptions{}.refinements),
                      .threads = threads,
                      .engine = options_.update_engine});
  return admm_prune(weights, shape.rows, shape.cols, layer.pattern, curvature.gram(),
                    {.row_segments = shape.row_segments,
                     .col_segments = shape.col_segments,
                     .damping = damping,
                     .iterations = chosen.iterations.value_or(AdmmOptions{}.iterations),
                     .refinements = chosen.refinements.value_or(AdmmOptions{}.refinements),
                     .columns = options_.columns,
                     .threads = threads,
                     .engine = options_.update_engine});
}

// In the weight's own order and in the best that the method's scores find; the result of smaller
// error stays.
UpdateResult LayerPruner::run_reordered(PrunedLayer& layer, std::vector<float>& weights,
                                        const Curvature& curvature, int threads) const {
  const WeightShape& shape = layer.weight.shape;
  const std::vector<float> scores =
      curvature.scores(dense_view(weights, shape.rows, shape.cols),
                       options_.scoring.damping.value_or(ObsOptions{}.damping), threads);
  find_order(layer, dense_view(scores, shape.rows, shape.cols), threads);
  const Permutation order = layer.input_permutation;
  std::vector<float> reordered = order.empty() ? weights : gather_cols(weights, order, threads);
  UpdateResult own = run_update(layer, weights, curvature, threads);
  if (order.empty()) return own;
  UpdateResult result = run_update(layer, reordered, curvature.gathered(order, threads), threads);
  if (!(result.error < own.error)) {
    layer.input_permutation.clear();
    layer.order_gain.reset();
    return own;
  }
  weights = gather_cols(reordered, inverse(order), threads);
  result.mask = put_back(result.mask, order);
  return result;
}

void LayerPruner::update(PrunedLayer& layer, const MutableDenseView& dense, int threads) const {
  const DenseCopy before = copy_of(dense, threads);
  std::vector<float> weights = floats_of(dense, threads);
  // Its statistics are held for the errors, too.
  const Curvature curvature = curvature_of(layer.weight, layer.scored_by, threads);
  UpdateResult updated;
  try {
    updated = reorders(layer.pattern) ? run_reordered(layer, weights, curvature, threads)
                                      : run_update(layer, weights, curvature, threads);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(fmt::format("'{}': {}", layer.weight.name, error.what()));
  }
  if (!updated.note.empty()) prune::add_note(layer.note, updated.note);
  store_floats(weights, dense, threads);
  // Compensation makes weights larger, and a narrow dtype has an end.
  if (find_nonfinite(dense, threads)) {
    prune::add_note(layer.note, fmt::format("compensated weights are too large for {}: mask only",
                                            dtype_name(dense.dtype)));
    copy_values(before, dense);
    apply_mask(dense, updated.mask, threads);
  }
  MaskResult magnitudes{.mask = std::move(updated.mask)};
  sum_magnitudes(before.view, threads, magnitudes);
  if (layer.pattern.has_inner()) {
    const Grid grid(layer.pattern, layer.weight.shape);
    magnitudes.blocks = std::ssize(grid.vectors()) * std::ssize(grid.groups());
    magnitudes.unproven_blocks = updated.unproven_blocks;
  }
  layer.set_scores(magnitudes);
  if (curvature.input != nullptr)
    layer.kept_of_scores =
        kept_of_outputs(before.view, curvature.input->square_sums, magnitudes.mask);
  layer.errors = scoring_.errors(layer.weight, before.view, dense, threads);
}

// The method's mask alone.
void LayerPruner::mask(PrunedLayer& layer, const MutableDenseView& dense, bool damaged,
                       int threads) const {
  const bool measured = !damaged && scoring_.measures(layer.weight);
  PrunedLayer own = layer;
  const MaskResult result = choose(layer, dense, damaged, reorders(layer.pattern), threads);
  const DenseCopy before = measured ? copy_of(dense, threads) : DenseCopy();
  const auto apply = [&](PrunedLayer& to, const MaskResult& chosen) {
    to.set_scores(chosen);
    apply_mask(dense, chosen.mask, threads);
    if (measured) to.errors = scoring_.errors(to.weight, before.view, dense, threads);
  };
  apply(layer, result);
  // More of the scores may be kept while the output suffers more: then the weight's own order.
  if (layer.input_permutation.empty() || !layer.errors.calibration) return;
  copy_values(before, dense);
  apply(own, choose(own, dense, damaged, false, threads));
  if (*own.errors.calibration <= *layer.errors.calibration) {
    layer = own;
    return;
  }
  copy_values(before, dense);
  apply_mask(dense, result.mask, threads);
}

// Gram matrices of both files, and what the methods make of the one and hold of the weight.
std::uint64_t LayerPruner::bytes_needed(const LinearWeight& weight) const {
  const auto rows = static_cast<std::uint64_t>(weight.shape.rows),
             cols = static_cast<std::uint64_t>(weight.shape.cols);
  const bool admm = options_.scoring.method == "admm";
  const std::uint64_t order = options_.order.permute ? 16 * cols * cols + 24 * rows * cols : 0;
  const auto blocks = static_cast<std::uint64_t>(scoring_.fisher_block(weight)) * rows * cols;
  return (options_.order.permute ? 16 : 8) * blocks + order + (admm ? 48 : 28) * cols * cols +
         (admm ? 40 : 28) * rows * cols;
}

PrunedLayer LayerPruner::prune(const LinearWeight& weight, const Pattern& pattern,
                               const MutableDenseView& dense, int threads) const {
  const auto start = std::chrono::steady_clock::now();
  PrunedLayer layer{.weight = weight, .pattern = pattern};
  layer.scored_by = scoring_.method_of(weight);
  const bool damaged = check_finite(weight.name, dense, options_.allow_nonfinite, threads);
  if (damaged && moves_weights(layer.scored_by)) {
    layer.note = fmt::format("NaN or infinite weights: by magnitude, not by {}", layer.scored_by);
    layer.scored_by = "magnitude";
  }
  if (moves_weights(layer.scored_by))
    update(layer, dense, threads);
  else
    mask(layer, dense, damaged, threads);
  layer.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return layer;
}

}  // namespace coppice::cli
