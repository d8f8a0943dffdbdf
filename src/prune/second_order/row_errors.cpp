#include "prune/second_order/row_errors.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "core/parallel_for.h"
#include "prune/second_order/lapack.h"

namespace coppice::prune {
namespace {

constexpr std::int64_t kRows = 64, kCols = 256;  // of a piece; fixed, so that sums are

// d G dᵀ of some rows, from the upper triangle of G: blocks of columns, each with those before it
// twice and with itself once.
void add_squares(std::vector<double>& d, std::int64_t rows, const GramView& gram, double* out) {
  const std::int64_t n = gram.cols;
  std::vector<double> product(static_cast<std::size_t>(rows * kCols));
  std::vector<double> diagonal(static_cast<std::size_t>(kCols * kCols));
  for (std::int64_t begin = 0; begin < n; begin += kCols) {
    const std::int64_t width = std::min(kCols, n - begin);
    for (std::int64_t i = 0; i < width; ++i)
      for (std::int64_t j = 0; j < width; ++j)
        diagonal[static_cast<std::size_t>(i * kCols + j)] =
            gram.at(begin + std::min(i, j), begin + std::max(i, j));
    const Panel<double> c{product.data(), rows, width, kCols};
    multiply(1, {d.data() + begin, rows, width, n}, {diagonal.data(), width, width, kCols}, 0, c);
    multiply(2, {d.data(), rows, begin, n}, {gram.data + begin, begin, width, n}, 1, c);
    for (std::int64_t r = 0; r < rows; ++r)
      out[r] = std::inner_product(c.data + r * kCols, c.data + r * kCols + width,
                                  d.data() + r * n + begin, out[r]);
  }
}

}  // namespace

std::vector<double> squared_outputs(const float* a, const float* b, std::int64_t rows,
                                    const GramView& gram, int threads) {
  const std::int64_t n = gram.cols;
  std::vector<double> sums(static_cast<std::size_t>(rows));
  parallel_for((rows + kRows - 1) / kRows, threads, [&](std::int64_t piece) {
    const std::int64_t first = piece * kRows, count = std::min(kRows, rows - first);
    std::vector<double> d(a + first * n, a + (first + count) * n);
    if (b != nullptr) std::transform(d.begin(), d.end(), b + first * n, d.begin(), std::minus<>());
    add_squares(d, count, gram, sums.data() + first);
  });
  // What rounding makes of zero must not be less.
  for (double& sum : sums) sum = sum < 0 ? 0 : sum;
  return sums;
}

}  // namespace coppice::prune
