#include "bench/sampled_error.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "coppice/linear.h"

namespace coppice::bench {
namespace {

constexpr std::int64_t kSampledTokens = 3;

// Squared norms of an error and of its reference.
struct ErrorSum {
  double error = 0, reference = 0;
  double relative() const { return std::sqrt(error / std::max(reference, 1e-300)); }
};

void add_error(const SparseMatrix& weight, const OutputBlock& block, const FetchBlock& fetch,
               ErrorSum& sum) {
  std::vector<float> x(static_cast<std::size_t>(block.tokens * weight.cols()));
  std::vector<float> y(static_cast<std::size_t>(block.tokens * block.rows));
  std::vector<double> expected(y.size());
  fetch(block, x, y);
  const SparseMatrix slice = slice_rows(weight.view(), block.row, block.row + block.rows);
  reference_multiply(slice.view(), {x.data(), block.tokens, weight.cols(), Layout::token_major, 0},
                     {expected.data(), block.tokens, block.rows, Layout::token_major, 0});
  for (std::size_t i = 0; i < y.size(); ++i) {
    sum.error += (y[i] - expected[i]) * (y[i] - expected[i]);
    sum.reference += expected[i] * expected[i];
  }
}

}  // namespace

double sampled_error(const SparseMatrix& weight, std::int64_t tokens, const FetchBlock& fetch,
                     int samples) {
  const auto vectors = weight.grid->vectors();
  const std::int64_t span = std::min(tokens, kSampledTokens);
  std::mt19937_64 random(11);
  const auto below = [&](std::size_t end) { return static_cast<std::int64_t>(random() % end); };
  ErrorSum sum;
  for (int sample = 0; sample < samples; ++sample) {
    const std::int64_t last_vector = std::ssize(vectors) - 1, last_token = tokens - span;
    const std::int64_t v = sample == 0   ? 0
                           : sample == 1 ? last_vector
                                         : below(static_cast<std::size_t>(last_vector + 1));
    const std::int64_t t = sample == 0   ? 0
                           : sample == 1 ? last_token
                                         : below(static_cast<std::size_t>(last_token + 1));
    const RowVector& rows = vectors[static_cast<std::size_t>(v)];
    add_error(weight, {t, span, rows.row, rows.rows}, fetch, sum);
  }
  return sum.relative();
}

}  // namespace coppice::bench
