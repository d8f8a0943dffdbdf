// Gram matrices of activations, and output errors from them, against plain double precision.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "coppice/error.h"
#include "coppice/output_error.h"
#include "prune/random_statistics.h"

namespace coppice {
namespace {

using ::testing::HasSubstr;
using testing::random_activations;
using testing::reference_statistics;
using ::testing::ThrowsMessage;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Activations tokens_of(const std::vector<float>& x, std::int64_t cols) {
  return {x.data(), std::ssize(x) / cols, cols, Layout::token_major, 0};
}

TEST(GramAccumulator, EqualsDoublePrecisionOverBatches) {
  std::mt19937 random(1);
  for (const std::int64_t cols : {1, 5, 31, 32, 33, 64, 100}) {
    GramAccumulator sums(cols, 2);
    std::vector<float> all;
    for (const std::int64_t tokens : {1, 0, 127, 300}) {
      const std::vector<float> x = random_activations(tokens, cols, random);
      sums.add(tokens_of(x, cols));
      all.insert(all.end(), x.begin(), x.end());
    }
    const InputStatistics got = sums.statistics(), want = reference_statistics(all, cols);
    EXPECT_EQ(got.cols, cols);
    EXPECT_EQ(got.samples, 428);
    for (std::int64_t i = 0; i < cols; ++i)
      for (std::int64_t j = 0; j < cols; ++j) {
        const auto at = static_cast<std::size_t>(i * cols + j);
        const double scale = std::sqrt(want.square_sums[static_cast<std::size_t>(i)] *
                                       want.square_sums[static_cast<std::size_t>(j)]);
        ASSERT_NEAR(got.gram[at], want.gram[at], 128 * 0x1p-24 * scale) << i << ", " << j;
        ASSERT_EQ(got.gram[at], got.gram[static_cast<std::size_t>(j * cols + i)]);
      }
    for (std::size_t i = 0; i < got.square_sums.size(); ++i)
      EXPECT_EQ(got.square_sums[i], got.gram[i * static_cast<std::size_t>(cols + 1)]);
  }
}

TEST(GramAccumulator, LayoutStrideAndThreadsChangeNothing) {
  std::mt19937 random(2);
  constexpr std::int64_t kTokens = 150, kCols = 70, kStride = 160;
  const std::vector<float> x = random_activations(kTokens, kCols, random);
  std::vector<float> turned(kCols * kStride, kNan);
  for (std::int64_t t = 0; t < kTokens; ++t)
    for (std::int64_t c = 0; c < kCols; ++c)
      turned[static_cast<std::size_t>(c * kStride + t)] =
          x[static_cast<std::size_t>(t * kCols + c)];
  GramAccumulator a(kCols, 1), b(kCols, 3);
  a.add(tokens_of(x, kCols));
  b.add({turned.data(), kTokens, kCols, Layout::feature_major, kStride});
  EXPECT_EQ(a.statistics().gram, b.statistics().gram);
}

TEST(GramAccumulator, RefusesWithoutAdding) {
  std::mt19937 random(3);
  std::vector<float> x = random_activations(200, 4, random);
  GramAccumulator sums(4);
  sums.add(tokens_of(x, 4));
  const std::vector<double> before = sums.statistics().gram;
  for (const float bad : {kNan, std::numeric_limits<float>::infinity(), -2e18f}) {
    x[4 * 190 + 2] = bad;
    EXPECT_THAT([&] { sums.add(tokens_of(x, 4)); },
                ThrowsMessage<InvalidArgument>(HasSubstr("token 190, feature 2")));
  }
  EXPECT_THAT([&] { sums.add(tokens_of(x, 5)); },
              ThrowsMessage<InvalidArgument>(HasSubstr("need 4 features")));
  EXPECT_EQ(sums.statistics().gram, before);
  EXPECT_EQ(sums.samples(), 200);
  EXPECT_THROW(GramAccumulator(0), InvalidArgument);
}

TEST(GramAccumulator, LargeActivationsDoNotOverflow) {
  const std::vector<float> x(128, 9e17f);
  GramAccumulator sums(1);
  sums.add(tokens_of(x, 1));
  EXPECT_NEAR(sums.statistics().gram[0] / (128 * 8.1e35), 1, 1e-4);
}

// ||X D^T|| / ||X W^T|| from the activations themselves.
double measured_error(const std::vector<float>& w, const std::vector<float>& v,
                      const std::vector<float>& x, std::int64_t cols) {
  double change = 0, output = 0;
  for (std::int64_t r = 0; r < std::ssize(w) / cols; ++r) {
    for (std::int64_t t = 0; t < std::ssize(x) / cols; ++t) {
      double full = 0, lost = 0;
      for (std::int64_t c = 0; c < cols; ++c) {
        const auto at = static_cast<std::size_t>(r * cols + c);
        const double factor = static_cast<double>(x[static_cast<std::size_t>(t * cols + c)]);
        full += static_cast<double>(w[at]) * factor;
        lost += (static_cast<double>(w[at]) - static_cast<double>(v[at])) * factor;
      }
      change += lost * lost, output += full * full;
    }
  }
  return std::sqrt(change / output);
}

TEST(OutputError, EqualsTheErrorOfTheOutputs) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  for (const auto& [rows, cols] : {std::pair{1, 1}, {3, 33}, {257, 20}, {300, 70}}) {
    std::vector<float> w(static_cast<std::size_t>(rows * cols)), v;
    for (float& value : w) value = normal(random);
    v = w;
    for (std::size_t i = 0; i < v.size(); i += 1 + i % 3) v[i] = 0;
    const std::vector<float> x = random_activations(90, cols, random);
    const InputStatistics statistics = reference_statistics(x, cols);
    const DenseView before = dense_view(w, rows, cols), after = dense_view(v, rows, cols);
    const double error = output_error(before, after, statistics.gram);
    EXPECT_NEAR(error, measured_error(w, v, x, cols), 1e-11) << rows << " x " << cols;
    EXPECT_EQ(error, output_error(before, after, statistics.gram, 3));
    EXPECT_EQ(output_error(before, before, statistics.gram), 0);
  }
}

TEST(OutputError, EdgesAndBadArguments) {
  const std::vector<double> gram = {1, 0, 0, 0};
  const std::vector<float> w = {0, 3}, v = {1, 3}, nan = {0, kNan};
  // The second input is dead: W puts out nothing, V does.
  EXPECT_EQ(output_error(dense_view(w, 1, 2), dense_view(v, 1, 2), gram),
            std::numeric_limits<double>::infinity());
  EXPECT_EQ(output_error(dense_view(w, 1, 2), dense_view(w, 1, 2), gram), 0);
  EXPECT_EQ(output_error(dense_view({}, 0, 2), dense_view({}, 0, 2), gram), 0);
  EXPECT_THAT([&] { output_error(dense_view(w, 1, 2), dense_view(nan, 1, 2), gram); },
              ThrowsMessage<InvalidArgument>(HasSubstr("row 0, column 1")));
  EXPECT_THROW(output_error(dense_view(w, 1, 2), dense_view(w, 2, 1), gram), InvalidArgument);
  EXPECT_THROW(output_error(dense_view(w, 2, 1), dense_view(w, 2, 1), gram), InvalidArgument);
}

}  // namespace
}  // namespace coppice
