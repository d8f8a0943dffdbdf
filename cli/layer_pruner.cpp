#include "layer_pruner.h"

#include <chrono>
#include <cstring>

#include "coppice/error.h"
#include "core/parallel_for.h"
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

GroupChoice parse_choice(const std::optional<std::string>& name) {
  if (name == "joint") return GroupChoice::joint;
  if (name == "saliency") return GroupChoice::saliency;
  return GroupChoice::automatic;
}

}  // namespace

// Fills in the layer's scores. `damaged`: a weight is NaN or infinite.
MaskResult LayerPruner::choose(PrunedLayer& layer, const DenseView& dense, bool damaged,
                               int threads) const {
  const LinearWeight& weight = layer.weight;
  const MaskOptions options{weight.shape.row_segments, weight.shape.col_segments, options_.columns,
                            threads};
  const std::vector<float> repaired = damaged ? finite_scores(dense) : std::vector<float>();
  const DenseView finite = damaged ? dense_view(repaired, dense.rows, dense.cols) : dense;
  MaskResult result;
  if (layer.scored_by == "magnitude") {
    result = damaged ? magnitude_mask(finite, layer.pattern, options)
                     : engine_.mask(dense, layer.pattern, options);
  } else {
    const std::vector<float> scores = scoring_.scores(weight, finite, threads);
    try {
      result = select_mask(dense_view(scores, dense.rows, dense.cols), layer.pattern, options);
    } catch (const InvalidArgument& error) {
      throw InvalidArgument(fmt::format("'{}': {}", weight.name, error.what()));
    }
    if (result.total_score > 0) layer.kept_of_scores = result.kept_score / result.total_score;
    sum_magnitudes(finite, threads, result);
  }
  return result;
}

UpdateResult LayerPruner::run_update(const PrunedLayer& layer, std::span<float> weights,
                                     std::span<const double> gram, int threads) const {
  const WeightShape& shape = layer.weight.shape;
  const double damping = options_.scoring.damping.value_or(ObsOptions{}.damping);
  try {
    if (layer.scored_by == "obs")
      return obs_prune(weights, shape.rows, shape.cols, layer.pattern, gram,
                       {.row_segments = shape.row_segments,
                        .col_segments = shape.col_segments,
                        .damping = damping,
                        .choice = parse_choice(options_.scoring.choice),
                        .columns = options_.columns,
                        .threads = threads});
    return admm_prune(weights, shape.rows, shape.cols, layer.pattern, gram,
                      {.row_segments = shape.row_segments,
                       .col_segments = shape.col_segments,
                       .damping = damping,
                       .iterations = options_.scoring.iterations.value_or(AdmmOptions{}.iterations),
                       .columns = options_.columns,
                       .threads = threads});
  } catch (const InvalidArgument& error) {
    throw InvalidArgument(fmt::format("'{}': {}", layer.weight.name, error.what()));
  }
}

void LayerPruner::update(PrunedLayer& layer, const MutableDenseView& dense, int threads) const {
  const DenseCopy before = copy_of(dense, threads);
  std::vector<float> weights = floats_of(dense, threads);
  const auto statistics = scoring_.statistics(layer.weight, threads);  // held for the errors, too
  UpdateResult updated = run_update(layer, weights, statistics->gram, threads);
  layer.note = updated.note;
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
  layer.errors = scoring_.errors(layer.weight, before.view, dense, threads);
}

// Gram matrices of both files, and what the methods make of the one and hold of the weight.
std::uint64_t LayerPruner::bytes_needed(const LinearWeight& weight) const {
  const auto rows = static_cast<std::uint64_t>(weight.shape.rows),
             cols = static_cast<std::uint64_t>(weight.shape.cols);
  const bool admm = options_.scoring.method == "admm";
  return (admm ? 56 : 36) * cols * cols + (admm ? 64 : 36) * rows * cols;
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
  if (moves_weights(layer.scored_by)) {
    update(layer, dense, threads);
  } else {
    const bool measured = !damaged && scoring_.measures(weight);
    const MaskResult result = choose(layer, dense, damaged, threads);
    layer.set_scores(result);
    const DenseCopy before = measured ? copy_of(dense, threads) : DenseCopy();
    apply_mask(dense, result.mask, threads);
    if (measured) layer.errors = scoring_.errors(weight, before.view, dense, threads);
  }
  layer.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return layer;
}

}  // namespace coppice::cli
