// The backward products against the dense weight in double precision.
#include "coppice/gradient.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "coppice/error.h"
#include "cpu/guards.h"
#include "cpu/random_weight.h"

namespace coppice {
namespace {

using cpu::Random;
using cpu::random_int;

template <typename T>
struct RandomMatrix {
  std::vector<T> memory;
  BasicActivations<T> view;

  RandomMatrix(Random& random, std::int64_t tokens, std::int64_t features) {
    const bool token_major = random_int(random, 0, 1) == 0;
    const std::int64_t minors = token_major ? features : tokens;
    const std::int64_t stride = minors + random_int(random, 0, 3);
    memory.resize(static_cast<std::size_t>((tokens + features - minors) * stride + 1));
    std::normal_distribution<T> normal;
    for (T& v : memory) v = normal(random);
    view = {memory.data(), tokens, features,
            token_major ? Layout::token_major : Layout::feature_major, stride};
  }
  BasicActivations<const T> input() const {
    return {view.data, view.tokens, view.features, view.layout, view.stride};
  }
  void poison() { std::ranges::fill(memory, std::numeric_limits<T>::quiet_NaN()); }
  // What lies between the rows of the matrix is as it was.
  bool guards_untouched() const {
    return cpu::guards_hold(memory, view, [](T v) { return std::isnan(v); });
  }
};

struct Problem {
  SparseMatrix weight;
  std::vector<float> dense;  // [rows, cols]

  Problem(Random& random, const Pattern& pattern, std::int64_t rows, std::int64_t cols,
          bool permuted)
      : weight(cpu::random_weight(random, pattern, rows, cols, Dtype::f32,
                                  {.row_segments = {}, .col_segments = {}, .permuted = permuted})),
        dense(static_cast<std::size_t>(rows * cols)) {
    decompress(weight.view(), {reinterpret_cast<std::byte*>(dense.data()), Dtype::f32, rows, cols});
  }
  template <typename T>
  std::vector<T> values() const {
    const auto* begin = reinterpret_cast<const float*>(weight.values.data());
    return {begin, begin + weight.values.size() / sizeof(float)};
  }
};

// Errors are beside the size of the terms, not of their sum: where they cancel, an error in the
// last bit of a term is many of the sum's.
template <typename T>
void check_transposed(Random& random, const Problem& problem, std::int64_t tokens) {
  const Grid& grid = *problem.weight.grid;
  const KeptColumns kept(problem.weight.view(), 2);
  const RandomMatrix<T> dy(random, tokens, grid.rows());
  RandomMatrix<T> dx(random, tokens, grid.cols());
  dx.poison();
  const std::vector<T> values = problem.values<T>();
  multiply_transposed<T>(kept, values, dy.input(), dx.view, random_int(random, 1, 3));
  EXPECT_TRUE(dx.guards_untouched());
  double error = 0, norm = 0;
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t c = 0; c < grid.cols(); ++c) {
      double want = 0;
      for (std::int64_t r = 0; r < grid.rows(); ++r) {
        const double term = double{dy.view.at(t, r)} *
                            double{problem.dense[static_cast<std::size_t>(r * grid.cols() + c)]};
        want += term;
        norm += term * term;
      }
      error += std::pow(dx.view.at(t, c) - want, 2);
    }
  EXPECT_LE(std::sqrt(error), std::numeric_limits<T>::epsilon() * 8 * std::sqrt(norm));
}

template <typename T>
void check_sampled(Random& random, const Problem& problem, std::int64_t tokens) {
  const Grid& grid = *problem.weight.grid;
  const KeptColumns kept(problem.weight.view());
  const RandomMatrix<T> dy(random, tokens, grid.rows()), x(random, tokens, grid.cols());
  std::vector<T> dvalues(static_cast<std::size_t>(grid.rows() * grid.kept()),
                         std::numeric_limits<T>::quiet_NaN());
  sampled_product<T>(kept, dy.input(), x.input(), dvalues, random_int(random, 1, 3));
  double error = 0, norm = 0;
  for (std::int64_t r = 0; r < grid.rows(); ++r)
    for (std::int64_t k = 0; k < grid.kept(); ++k) {
      const std::int64_t col = kept.column(kept.places(r)[static_cast<std::size_t>(k)]);
      double want = 0;
      for (std::int64_t t = 0; t < tokens; ++t) {
        const double term = double{dy.view.at(t, r)} * double{x.view.at(t, col)};
        want += term;
        norm += term * term;
      }
      error += std::pow(dvalues[static_cast<std::size_t>(r * grid.kept() + k)] - want, 2);
    }
  EXPECT_LE(std::sqrt(error), std::numeric_limits<T>::epsilon() * 8 * std::sqrt(norm));
}

class Gradient : public testing::TestWithParam<const char*> {};

TEST_P(Gradient, MatchesTheDenseWeight) {
  Random random(11);
  const Pattern pattern = Pattern::parse(GetParam());
  for (int i = 0; i < 10; ++i) {
    const Problem problem(random, pattern, random_int(random, 1, 150), random_int(random, 1, 200),
                          random_int(random, 0, 3) == 0);
    const std::int64_t tokens = i == 0 ? 600 : i == 1 ? 1 : random_int(random, 2, 110);
    SCOPED_TRACE(testing::Message() << i << ": " << problem.weight.rows() << " x "
                                    << problem.weight.cols() << ", " << tokens << " tokens");
    check_transposed<float>(random, problem, tokens);
    check_transposed<double>(random, problem, tokens);
    check_sampled<float>(random, problem, tokens);
    check_sampled<double>(random, problem, tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(Patterns, Gradient,
                         testing::Values("dense", "2:4", "2:8", "3:5", "vw32/8:32", "bw4x4/1:4",
                                         "64:2:8", "16:2:16", "8:3/6:8"));

TEST(GradientResults, AreTheSameBitsForAnyThreads) {
  Random random(5);
  const Problem problem(random, Pattern::parse("64:2:8"), 300, 500, false);
  const KeptColumns kept(problem.weight.view());
  const RandomMatrix<float> dy(random, 333, 300), x(random, 333, 500);
  const std::vector<float> values = problem.values<float>();
  std::vector<float> first_dx, first_dvalues;
  for (const int threads : {1, 2, 7}) {
    std::vector<float> dx(333 * 500), dvalues(values.size());
    multiply_transposed<float>(kept, values, dy.input(), {dx.data(), 333, 500}, threads);
    sampled_product<float>(kept, dy.input(), x.input(), dvalues, threads);
    if (threads == 1) first_dx = dx, first_dvalues = dvalues;
    EXPECT_EQ(dx, first_dx);
    EXPECT_EQ(dvalues, first_dvalues);
  }
}

TEST(GradientResults, OfNoTokensAreZero) {
  Random random(6);
  const Problem problem(random, Pattern::parse("2:4"), 8, 12, false);
  const KeptColumns kept(problem.weight.view());
  std::vector<float> dvalues(problem.values<float>().size(), 7);
  sampled_product<float>(kept, {nullptr, 0, 8}, {nullptr, 0, 12}, dvalues);
  EXPECT_EQ(dvalues, std::vector<float>(dvalues.size()));
  multiply_transposed<float>(kept, problem.values<float>(), {nullptr, 0, 8}, {nullptr, 0, 12});
}

TEST(GradientErrors, ShapesThatDoNotFit) {
  Random random(7);
  const Problem problem(random, Pattern::parse("2:4"), 8, 12, false);
  const KeptColumns kept(problem.weight.view());
  std::vector<float> values = problem.values<float>(), dy(5 * 8), x(5 * 12);
  const auto call = [&](std::int64_t tokens, std::int64_t rows, std::int64_t cols) {
    multiply_transposed<float>(kept, values, {dy.data(), tokens, rows}, {x.data(), 5, cols});
  };
  call(5, 8, 12);
  EXPECT_THROW(call(4, 8, 12), InvalidArgument);
  EXPECT_THROW(call(5, 7, 12), InvalidArgument);
  EXPECT_THROW(call(5, 8, 11), InvalidArgument);
  values.pop_back();
  EXPECT_THROW(call(5, 8, 12), InvalidArgument);
}

}  // namespace
}  // namespace coppice
