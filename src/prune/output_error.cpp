#include "coppice/output_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "coppice/cancel.h"
#include "coppice/error.h"
#include "core/parallel_for.h"
#include "prune/gram_kernels.h"

namespace coppice {
namespace {

using prune::kGramPanel;
using Tile = std::array<double, kGramPanel * kGramPanel>;

// Rows whose panels are in memory at a time; G is read once for each so many.
constexpr std::int64_t kBlockRows = 256;

void check(const DenseView& before, const DenseView& after, std::span<const double> gram) {
  if (before.rows != after.rows || before.cols != after.cols)
    throw InvalidArgument(fmt::format("the weights are {} x {} and {} x {}; both need one shape",
                                      before.rows, before.cols, after.rows, after.cols));
  if (std::ssize(gram) != before.cols * before.cols)
    throw InvalidArgument(fmt::format("a Gram matrix of {} numbers does not fit {} columns",
                                      gram.size(), before.cols));
}

// Rows of W and of D = W - V in panels [panels, rows, kGramPanel]. What lies beyond the columns
// stays 0.
struct Panels {
  std::vector<double> weight, change;
  std::int64_t rows = 0;

  explicit Panels(std::int64_t count)
      : weight(static_cast<std::size_t>(count * kBlockRows * kGramPanel)), change(weight.size()) {}

  const double* at(const std::vector<double>& panels, std::int64_t panel) const {
    return panels.data() + panel * kBlockRows * kGramPanel;
  }

  void load(const DenseView& before, const DenseView& after, std::int64_t first, int threads) {
    rows = std::min(kBlockRows, before.rows - first);
    parallel_ranges(rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
      std::vector<float> w(static_cast<std::size_t>(before.cols)), v(w.size());
      for (std::int64_t r = begin; r < end; ++r) {
        to_float(before.dtype, before.row(first + r), w);
        to_float(after.dtype, after.row(first + r), v);
        for (std::size_t c = 0; c < w.size(); ++c) {
          if (!std::isfinite(w[c]) || !std::isfinite(v[c]))
            throw InvalidArgument(fmt::format(
                "the weight at row {}, column {} is not a number: its output has no error",
                first + r, c));
          const std::size_t to =
              (c / kGramPanel * kBlockRows + static_cast<std::size_t>(r)) * kGramPanel +
              c % kGramPanel;
          weight[to] = static_cast<double>(w[c]);
          change[to] = static_cast<double>(w[c]) - static_cast<double>(v[c]);
        }
      }
    });
  }
};

// Sum of the entries of a tile times those of G at panels (i, j). Those above the diagonal stand
// for those below as well.
double dot(const Tile& tile, std::span<const double> gram, std::int64_t i, std::int64_t j,
           std::int64_t cols) {
  const std::int64_t row = i * kGramPanel, col = j * kGramPanel;
  const std::int64_t height = std::min<std::int64_t>(kGramPanel, cols - row);
  const std::int64_t width = std::min<std::int64_t>(kGramPanel, cols - col);
  double sum = 0;
  for (std::int64_t r = 0; r < height; ++r)
    for (std::int64_t c = 0; c < width; ++c)
      sum += tile[static_cast<std::size_t>(r * kGramPanel + c)] *
             gram[static_cast<std::size_t>((row + r) * cols + col + c)];
  return i == j ? sum : 2 * sum;
}

}  // namespace

// tr(D G D^T) is the sum of the entries of G times those of D^T D, and both are symmetric.
double output_error(const DenseView& before, const DenseView& after, std::span<const double> gram,
                    int threads) {
  check(before, after, gram);
  const std::int64_t cols = before.cols, count = (cols + kGramPanel - 1) / kGramPanel;
  Panels panels(count);
  std::vector<double> outputs(static_cast<std::size_t>(count)), changes(outputs.size());
  for (std::int64_t first = 0; first < before.rows; first += kBlockRows) {
    throw_if_cancelled();
    panels.load(before, after, first, threads);
    parallel_for(count, threads, [&](std::int64_t i) {
      alignas(64) Tile tile;
      auto add = [&](const std::vector<double>& from, std::int64_t j) {
        prune::multiply_panels(panels.at(from, i), panels.at(from, j), panels.rows, tile.data());
        return dot(tile, gram, i, j, cols);
      };
      for (std::int64_t j = i; j < count; ++j) {
        outputs[static_cast<std::size_t>(i)] += add(panels.weight, j);
        changes[static_cast<std::size_t>(i)] += add(panels.change, j);
      }
    });
  }
  double output = 0, change = 0;
  for (std::size_t i = 0; i < outputs.size(); ++i) output += outputs[i], change += changes[i];
  change = std::max(change, 0.0);  // rounding may leave a little less than 0
  if (change == 0) return 0;
  return output > 0 ? std::sqrt(change / output) : std::numeric_limits<double>::infinity();
}

}  // namespace coppice
