#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "coppice/error.h"
#include "coppice/update.h"
#include "core/parallel_for.h"
#include "prune/second_order/lapack.h"
#include "prune/second_order/obs_sweep.h"
#include "prune/second_order/row_errors.h"

namespace coppice {
namespace {

using prune::GramView;
using prune::InverseFactor;

// Rows that are pruned together: enough for matrix products to be fast. Fixed by the shape, so that
// the result does not depend on the number of threads.
constexpr std::int64_t kMostRows = 256, kFewestRows = 16, kTasks = 16;

void check_options(const ObsOptions& options) {
  if (!std::isfinite(options.damping) || options.damping < 0)
    throw InvalidArgument(fmt::format("damping is {}, needs to be 0 or more", options.damping));
  if (options.block < 1)
    throw InvalidArgument(
        fmt::format("the block is {} columns, needs to be 1 or more", options.block));
}

GramView check_problem(std::size_t size, std::int64_t rows, std::int64_t cols,
                       std::span<const double> numbers) {
  if (rows < 0 || cols < 0 || cols > std::numeric_limits<int>::max() ||
      rows > std::numeric_limits<int>::max())
    throw InvalidArgument(fmt::format("weights of {} x {}: sizes need to be 0 to {}", rows, cols,
                                      std::numeric_limits<int>::max()));
  if (std::cmp_not_equal(size, rows * cols))
    throw InvalidArgument(
        fmt::format("there are {} weights, {} x {} need {}", size, rows, cols, rows * cols));
  if (std::ssize(numbers) != cols * cols)
    throw InvalidArgument(
        fmt::format("a Gram matrix of {} numbers does not fit {} columns", numbers.size(), cols));
  const GramView gram{numbers.data(), cols};
  for (std::int64_t r = 0; r < cols; ++r)
    for (std::int64_t c = r; c < cols; ++c)
      if (!std::isfinite(gram.at(r, c)))
        throw InvalidArgument(
            fmt::format("the Gram matrix has {} at [{}, {}]; its numbers need to "
                        "be finite",
                        gram.at(r, c), r, c));
  return gram;
}

float largest_weight(std::span<const float> weights) {
  float largest = 0;
  for (float weight : weights) {
    if (!std::isfinite(weight))
      throw InvalidArgument(fmt::format("a weight is {}; weights need to be finite", weight));
    largest = std::max(largest, std::fabs(weight));
  }
  return largest;
}

// Consecutive vectors, about `rows` rows of them at once.
std::vector<std::span<const RowVector>> split_vectors(const Grid& grid) {
  const std::int64_t most = std::clamp(grid.rows() / kTasks, kFewestRows, kMostRows);
  const std::span<const RowVector> vectors = grid.vectors();
  std::vector<std::span<const RowVector>> parts;
  for (std::size_t begin = 0, end = 0; begin < vectors.size(); begin = end) {
    std::int64_t rows = vectors[begin].rows;
    for (end = begin + 1; end < vectors.size() && rows + vectors[end].rows <= most; ++end)
      rows += vectors[end].rows;
    parts.push_back(vectors.subspan(begin, end - begin));
  }
  return parts;
}

std::string describe_factor(const std::optional<InverseFactor>& factor, double damping) {
  if (!factor) return "no factorisation of the Gram matrix: pruned by magnitude";
  std::string note;
  if (factor->dead > 0) note = fmt::format("{} inputs always zero", factor->dead);
  if (factor->damping != damping)
    note += fmt::format("{}damping raised to {:g}", note.empty() ? "" : "; ", factor->damping);
  return note;
}

// The rows of one matrix in three forms, each with what it changes in the output.
struct Candidate {
  std::vector<float> weights;
  Mask mask;
  std::vector<double> errors;  // squared, by row
};

Candidate prune_by_magnitude(std::span<const float> weights, const Grid& grid, const GramView& gram,
                             const ObsOptions& options) {
  Candidate candidate{{weights.begin(), weights.end()}, {}, {}};
  candidate.mask = magnitude_mask(dense_view(weights, grid.rows(), grid.cols()), grid.pattern(),
                                  {.row_segments = options.row_segments,
                                   .col_segments = options.col_segments,
                                   .columns = options.columns,
                                   .threads = options.threads})
                       .mask;
  apply_mask({reinterpret_cast<std::byte*>(candidate.weights.data()), Dtype::f32, grid.rows(),
              grid.cols()},
             candidate.mask, options.threads);
  candidate.errors = prune::squared_outputs(weights.data(), candidate.weights.data(), grid.rows(),
                                            gram, options.threads);
  return candidate;
}

Candidate prune_with_factor(std::span<const float> weights, const Grid& grid, const GramView& gram,
                            const InverseFactor& factor, const ObsOptions& options,
                            std::int64_t& unproven) {
  Candidate candidate{{weights.begin(), weights.end()}, Mask(grid.rows(), grid.cols()), {}};
  const prune::ObsSweep sweep(grid, factor, options, largest_weight(weights));
  const auto parts = split_vectors(grid);
  std::vector<std::int64_t> unproven_parts(parts.size());
  const prune::SerialBlas serial;
  parallel_for(std::ssize(parts), options.threads, [&](std::int64_t i) {
    const auto part = static_cast<std::size_t>(i);
    unproven_parts[part] = sweep.run(parts[part], candidate.weights.data(), candidate.mask);
  });
  unproven = std::accumulate(unproven_parts.begin(), unproven_parts.end(), std::int64_t{0});
  candidate.errors = prune::squared_outputs(weights.data(), candidate.weights.data(), grid.rows(),
                                            gram, options.threads);
  return candidate;
}

// Takes over the vectors in which `other` changes the output less. @returns their rows
std::int64_t take_better(Candidate& candidate, const Candidate& other, const Grid& grid) {
  std::int64_t taken = 0;
  for (const RowVector& vector : grid.vectors()) {
    const auto sum = [&](const std::vector<double>& errors) {
      return std::accumulate(errors.begin() + vector.row, errors.begin() + vector.row + vector.rows,
                             0.0);
    };
    if (sum(candidate.errors) <= sum(other.errors)) continue;  // not if it is NaN
    taken += vector.rows;
    const std::int64_t first = vector.row * grid.cols(), count = vector.rows * grid.cols();
    std::copy_n(other.weights.begin() + first, count, candidate.weights.begin() + first);
    for (std::int64_t row = vector.row; row < vector.row + vector.rows; ++row) {
      std::ranges::copy(other.mask.row(row), candidate.mask.row(row).begin());
      candidate.errors[static_cast<std::size_t>(row)] = other.errors[static_cast<std::size_t>(row)];
    }
  }
  return taken;
}

double relative(const std::vector<double>& errors, double whole) {
  const double change = std::accumulate(errors.begin(), errors.end(), 0.0);
  if (change == 0) return 0;
  return whole > 0 ? std::sqrt(change / whole) : std::numeric_limits<double>::infinity();
}

}  // namespace

UpdateResult obs_prune(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                       const Pattern& pattern, std::span<const double> numbers,
                       const ObsOptions& options) {
  check_options(options);
  const GramView gram = check_problem(weights.size(), rows, cols, numbers);
  const Grid grid(pattern, {rows, cols, options.row_segments, options.col_segments});
  largest_weight(weights);
  UpdateResult result;
  result.mask = Mask(rows, cols);
  if (weights.empty()) return result;

  const prune::SerialBlas serial;
  const auto squares = prune::squared_outputs(weights.data(), nullptr, rows, gram, options.threads);
  const double whole = std::accumulate(squares.begin(), squares.end(), 0.0);
  Candidate magnitude = prune_by_magnitude(weights, grid, gram, options);
  result.magnitude_error = relative(magnitude.errors, whole);
  const auto factor = prune::factorise_inverse(gram, options.damping);
  result.note = describe_factor(factor, options.damping);
  Candidate best;
  if (factor) {
    best = prune_with_factor(weights, grid, gram, *factor, options, result.unproven_blocks);
    result.damping = factor->damping;
    result.dead_columns = factor->dead;
    result.magnitude_rows = take_better(best, magnitude, grid);
    if (result.magnitude_rows > 0)
      result.note += fmt::format("{}magnitude was better in {} of {} rows, and kept there",
                                 result.note.empty() ? "" : "; ", result.magnitude_rows, rows);
  } else {
    best = std::move(magnitude);
    result.magnitude_rows = rows;
  }
  result.error = relative(best.errors, whole);

  std::vector<float> uncompensated(weights.begin(), weights.end());
  apply_mask({reinterpret_cast<std::byte*>(uncompensated.data()), Dtype::f32, rows, cols},
             best.mask, options.threads);
  result.uncompensated_error = relative(
      prune::squared_outputs(weights.data(), uncompensated.data(), rows, gram, options.threads),
      whole);
  std::ranges::copy(best.weights, weights.begin());
  result.mask = std::move(best.mask);
  return result;
}

}  // namespace coppice
