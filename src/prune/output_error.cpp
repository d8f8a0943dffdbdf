#include "coppice/output_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "coppice/cancel.h"
#include "coppice/error.h"
#include "core/parallel_for.h"
#include "prune/second_order/engine.h"
#include "prune/second_order/row_errors.h"

namespace coppice {
namespace {

// Rows that are in memory as floats at a time.
constexpr std::int64_t kBlockRows = 256;

void check(const DenseView& before, const DenseView& after, std::span<const double> gram) {
  if (before.rows != after.rows || before.cols != after.cols)
    throw InvalidArgument(fmt::format("the weights are {} x {} and {} x {}; both need one shape",
                                      before.rows, before.cols, after.rows, after.cols));
  if (std::ssize(gram) != before.cols * before.cols)
    throw InvalidArgument(fmt::format("a Gram matrix of {} numbers does not fit {} columns",
                                      gram.size(), before.cols));
}

// Rows [first, first + count) of a weight.
std::vector<float> load(const DenseView& weight, std::int64_t first, std::int64_t count,
                        int threads) {
  std::vector<float> values(static_cast<std::size_t>(count * weight.cols));
  parallel_ranges(count, threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::span<float> row(values.data() + r * weight.cols,
                                 static_cast<std::size_t>(weight.cols));
      to_float(weight.dtype, weight.row(first + r), row);
      for (std::size_t c = 0; c < row.size(); ++c)
        if (!std::isfinite(row[c]))
          throw InvalidArgument(fmt::format(
              "the weight at row {}, column {} is not a number: its output has no error", first + r,
              c));
    }
  });
  return values;
}

double sum(const std::vector<double>& rows) {
  return std::accumulate(rows.begin(), rows.end(), 0.0);
}

struct SquaredErrors {
  double output = 0, change = 0;
};

SquaredErrors on_cpu(const DenseView& before, const DenseView& after, std::span<const double> gram,
                     int threads) {
  SquaredErrors total;
  const prune::GramView view{gram.data(), before.cols};
  for (std::int64_t first = 0; first < before.rows; first += kBlockRows) {
    throw_if_cancelled();
    const std::int64_t count = std::min(kBlockRows, before.rows - first);
    const std::vector<float> w = load(before, first, count, threads);
    const std::vector<float> v = load(after, first, count, threads);
    total.output += sum(prune::squared_outputs(w.data(), nullptr, count, view, threads));
    total.change += sum(prune::squared_outputs(w.data(), v.data(), count, view, threads));
  }
  return total;
}

SquaredErrors on_engine(const DenseView& before, const DenseView& after,
                        std::span<const double> gram, int threads, const UpdateEngine& engine) {
  const std::vector<float> w = load(before, 0, before.rows, threads);
  const std::vector<float> v = load(after, 0, after.rows, threads);
  const prune::UpdateProblem problem(
      w, Grid(Pattern::parse("dense"), {before.rows, before.cols, {}, {}}), gram,
      ColumnSearch::automatic, threads);
  const auto layer = engine.open(problem);
  return {sum(layer->squared_outputs(nullptr)), sum(layer->squared_outputs(v.data()))};
}

}  // namespace

double output_error(const DenseView& before, const DenseView& after, std::span<const double> gram,
                    int threads, const UpdateEngine* engine) {
  check(before, after, gram);
  if (before.rows == 0 || before.cols == 0) return 0;
  const auto [output, change] = engine == nullptr
                                    ? on_cpu(before, after, gram, threads)
                                    : on_engine(before, after, gram, threads, *engine);
  if (change == 0) return 0;
  return output > 0 ? std::sqrt(change / output) : std::numeric_limits<double>::infinity();
}

}  // namespace coppice
