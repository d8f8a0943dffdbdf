#include "prune/second_order/candidate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "coppice/error.h"
#include "prune/second_order/engine.h"

namespace coppice::prune {
namespace {

constexpr std::int64_t kMostRows = 256, kFewestRows = 16, kTasks = 16;

float largest_weight(std::span<const float> weights) {
  float largest = 0;
  for (float weight : weights) {
    if (!std::isfinite(weight))
      throw InvalidArgument(fmt::format("a weight is {}; weights need to be finite", weight));
    largest = std::max(largest, std::fabs(weight));
  }
  return largest;
}

double relative(const std::vector<double>& errors, double whole) {
  const double change = std::accumulate(errors.begin(), errors.end(), 0.0);
  if (change == 0) return 0;
  return whole > 0 ? std::sqrt(change / whole) : std::numeric_limits<double>::infinity();
}

}  // namespace

UpdateProblem::UpdateProblem(std::span<const float> weights_, Grid grid_,
                             std::span<const double> numbers, ColumnSearch columns_, int threads_)
    : weights(weights_),
      grid(std::move(grid_)),
      gram{numbers.data(), grid.cols()},
      columns(columns_),
      threads(threads_) {
  const std::int64_t rows = grid.rows(), cols = grid.cols();
  if (rows < 0 || cols < 0 || cols > std::numeric_limits<int>::max() ||
      rows > std::numeric_limits<int>::max())
    throw InvalidArgument(fmt::format("weights of {} x {}: sizes need to be 0 to {}", rows, cols,
                                      std::numeric_limits<int>::max()));
  if (std::cmp_not_equal(weights_.size(), rows * cols))
    throw InvalidArgument(fmt::format("there are {} weights, {} x {} need {}", weights_.size(),
                                      rows, cols, rows * cols));
  if (std::ssize(numbers) != cols * cols)
    throw InvalidArgument(
        fmt::format("a Gram matrix of {} numbers does not fit {} columns", numbers.size(), cols));
  for (std::int64_t r = 0; r < cols; ++r)
    for (std::int64_t c = r; c < cols; ++c)
      if (!std::isfinite(gram.at(r, c)))
        throw InvalidArgument(
            fmt::format("the Gram matrix has {} at [{}, {}]; its numbers need to "
                        "be finite",
                        gram.at(r, c), r, c));
  largest = largest_weight(weights);
}

void check_damping(double damping) {
  if (!std::isfinite(damping) || damping < 0)
    throw InvalidArgument(fmt::format("damping is {}, needs to be 0 or more", damping));
}

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

void clear_unkept(std::vector<float>& weights, const Mask& mask, int threads) {
  apply_mask({reinterpret_cast<std::byte*>(weights.data()), Dtype::f32, mask.rows(), mask.cols()},
             mask, threads);
}

Candidate empty_candidate(const UpdateProblem& problem) {
  return {std::vector<float>(problem.weights.size()),
          Mask(problem.grid.rows(), problem.grid.cols()),
          {}};
}

Candidate magnitude_candidate(const UpdateProblem& problem, LayerEngine& engine) {
  Candidate candidate{
      {problem.weights.begin(), problem.weights.end()}, engine.magnitude_mask(), {}};
  clear_unkept(candidate.weights, candidate.mask, problem.threads);
  candidate.errors = engine.squared_outputs(candidate.weights.data());
  return candidate;
}

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

void add_note(std::string& note, std::string_view part) {
  if (!note.empty()) note += "; ";
  note += part;
}

void finish(const UpdateProblem& problem, LayerEngine& engine, Candidate best,
            const Candidate& magnitude, std::span<float> weights, UpdateResult& result) {
  const Grid& grid = problem.grid;
  result.magnitude_rows = take_better(best, magnitude, grid);
  if (result.magnitude_rows > 0)
    add_note(result.note, fmt::format("magnitude was better in {} of {} rows, and kept there",
                                      result.magnitude_rows, grid.rows()));
  const std::vector<double> outputs = engine.squared_outputs(nullptr);
  const double whole = std::accumulate(outputs.begin(), outputs.end(), 0.0);
  std::vector<float> uncompensated(weights.begin(), weights.end());
  clear_unkept(uncompensated, best.mask, problem.threads);
  result.uncompensated_error = relative(engine.squared_outputs(uncompensated.data()), whole);
  result.magnitude_error = relative(magnitude.errors, whole);
  result.error = relative(best.errors, whole);
  std::ranges::copy(best.weights, weights.begin());
  result.mask = std::move(best.mask);
}

}  // namespace coppice::prune
