// The check of products by samples: exact products pass, and what is wrong is seen.
#include "bench/sampled_error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "bench/random_weight.h"
#include "coppice/linear.h"

namespace coppice::bench {
namespace {

// A product by the reference, with x and y token-major.
struct Product {
  Product(const char* pattern, std::int64_t rows, std::int64_t cols, std::int64_t token_count)
      : weight(random_weight(Pattern::parse(pattern), rows, cols, Dtype::f32, 1)),
        tokens(token_count),
        x(static_cast<std::size_t>(cols * tokens)),
        y(static_cast<std::size_t>(rows * tokens)) {
    fill_normal(x, 2);
    std::vector<double> exact(y.size());
    reference_multiply(weight.view(), {x.data(), tokens, cols, Layout::token_major, 0},
                       {exact.data(), tokens, rows, Layout::token_major, 0});
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(exact[i]);
  }

  double error() {
    return sampled_error(weight, tokens, [&](const OutputBlock& b, auto x_out, auto y_out) {
      EXPECT_GE(b.token, 0);
      EXPECT_LE(b.token + b.tokens, tokens);
      EXPECT_LE(b.row + b.rows, weight.rows());
      blocks.push_back(b);
      for (std::int64_t t = 0; t < b.tokens; ++t) {
        for (std::int64_t c = 0; c < weight.cols(); ++c)
          x_out[static_cast<std::size_t>(t * weight.cols() + c)] =
              x[static_cast<std::size_t>((b.token + t) * weight.cols() + c)];
        for (std::int64_t r = 0; r < b.rows; ++r)
          y_out[static_cast<std::size_t>(t * b.rows + r)] = at(b.token + t, b.row + r);
      }
    });
  }
  float& at(std::int64_t token, std::int64_t row) {
    return y[static_cast<std::size_t>(token * weight.rows() + row)];
  }

  SparseMatrix weight;
  std::int64_t tokens;
  std::vector<float> x, y;
  std::vector<OutputBlock> blocks;
};

TEST(SampledError, OfAnExactProductIsRounding) {
  for (const char* pattern : {"2:4", "64:2:8", "vw32/8:32", "dense"})
    for (const std::int64_t tokens : {1, 2, 17}) {
      Product product(pattern, 130, 96, tokens);
      EXPECT_LT(product.error(), 1e-7) << pattern << ", " << tokens;
    }
}

TEST(SampledError, BothEndsAreAlwaysLookedAt) {
  Product product("vw4/2:8", 70, 40, 9);
  product.error();
  EXPECT_EQ(product.blocks.front().token, 0);
  EXPECT_EQ(product.blocks.front().row, 0);
  bool last = false;
  for (const OutputBlock& b : product.blocks)
    last = last || (b.token + b.tokens == 9 && b.row + b.rows == 70);
  EXPECT_TRUE(last);
  // One wrong output there is seen.
  product.at(8, 69) += 10;
  EXPECT_GT(product.error(), 1e-2);
}

TEST(SampledError, IsRelativeToTheOutputs) {
  Product product("2:4", 64, 64, 4);
  for (float& v : product.y) v *= 1.01f;
  EXPECT_NEAR(product.error(), 0.01, 1e-5);
  for (float& v : product.y) v = 0;
  EXPECT_NEAR(product.error(), 1, 1e-12);
  product.at(0, 0) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(product.error()));
}

}  // namespace
}  // namespace coppice::bench
