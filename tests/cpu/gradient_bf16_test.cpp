// The backward products in bf16 against sums in double precision of the same rounded numbers.
#include <gtest/gtest.h>

#include <cmath>

#include "coppice/error.h"
#include "coppice/gradient.h"
#include "cpu/bf16_matrix.h"
#include "cpu/random_weight.h"

namespace coppice {
namespace {

using cpu::Random;
using cpu::random_int;
using Bits = std::uint16_t;

using Matrix = cpu::Bf16Matrix;
constexpr Bits kNan = cpu::kBf16Nan;

struct Problem {
  SparseMatrix weight;
  std::vector<float> dense;  // [rows, cols]
  KeptBits kept;

  explicit Problem(SparseMatrix of)
      : weight(std::move(of)),
        dense(static_cast<std::size_t>(weight.rows() * weight.cols())),
        kept(weight.view(), 2) {
    std::vector<std::byte> bits(dense.size() * sizeof(Bits));
    decompress(weight.view(), {bits.data(), Dtype::bf16, weight.rows(), weight.cols()});
    to_float(Dtype::bf16, bits.data(), dense);
  }
  // Ends where its memory ends, so that a sanitizer sees what is read behind it.
  std::vector<Bits> values() const {
    const auto* begin = reinterpret_cast<const Bits*>(weight.values.data());
    return {begin, begin + weight.values.size() / sizeof(Bits)};
  }
};

// Half a unit in the last place of bf16; sums of products of bf16 numbers in fp32 add little to it.
constexpr double kBound = 0x1p-8;

struct Error {
  double error = 0, norm = 0;
  void add(double got, double want) {
    error += (got - want) * (got - want);
    norm += want * want;
  }
  void check() const { EXPECT_LE(std::sqrt(error), kBound * std::sqrt(norm)); }
};

void check_transposed(Random& random, const Problem& problem, std::int64_t tokens, Layout in,
                      Layout out) {
  const Grid& grid = *problem.weight.grid;
  const Matrix dy(random, tokens, grid.rows(), in);
  Matrix dx(random, tokens, grid.cols(), out);
  std::ranges::fill(dx.memory, kNan);
  const std::vector<Bits> values = problem.values();
  multiply_transposed_bf16(problem.kept, values, dy.input(), dx.view, random_int(random, 1, 3));
  EXPECT_TRUE(dx.guards_untouched());
  Error error;
  std::vector<double> want(static_cast<std::size_t>(grid.cols()));
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::ranges::fill(want, 0.0);
    for (std::int64_t r = 0; r < grid.rows(); ++r) {
      const double factor = dy.at(t, r);
      for (std::int64_t c = 0; c < grid.cols(); ++c)
        want[static_cast<std::size_t>(c)] +=
            factor * double{problem.dense[static_cast<std::size_t>(r * grid.cols() + c)]};
    }
    for (std::int64_t c = 0; c < grid.cols(); ++c)
      error.add(dx.at(t, c), want[static_cast<std::size_t>(c)]);
  }
  error.check();
}

void check_sampled(Random& random, const Problem& problem, std::int64_t tokens, Layout dy_layout,
                   Layout x_layout) {
  const Grid& grid = *problem.weight.grid;
  const KeptColumns columns(problem.weight.view());
  const Matrix dy(random, tokens, grid.rows(), dy_layout), x(random, tokens, grid.cols(), x_layout);
  std::vector<Bits> dvalues(static_cast<std::size_t>(grid.rows() * grid.kept()), kNan);
  sampled_product_bf16(problem.kept, dy.input(), x.input(), dvalues, random_int(random, 1, 3));
  Error error;
  for (std::int64_t r = 0; r < grid.rows(); ++r)
    for (std::int64_t k = 0; k < grid.kept(); ++k) {
      const std::int64_t col = columns.column(columns.places(r)[static_cast<std::size_t>(k)]);
      double want = 0;
      for (std::int64_t t = 0; t < tokens; ++t) want += dy.at(t, r) * x.at(t, col);
      error.add(cpu::bf16_value(dvalues[static_cast<std::size_t>(r * grid.kept() + k)]), want);
    }
  error.check();
}

void check_both(Random& random, const Problem& problem, std::int64_t tokens) {
  SCOPED_TRACE(testing::Message() << problem.weight.rows() << " x " << problem.weight.cols() << ", "
                                  << tokens << " tokens");
  const auto layout = [&] {
    return random_int(random, 0, 1) == 0 ? Layout::token_major : Layout::feature_major;
  };
  check_transposed(random, problem, tokens, layout(), layout());
  check_sampled(random, problem, tokens, layout(), layout());
}

bool multiplies_bf16() { return bf16_instructions() != Bf16Instructions::none; }

class GradientBf16 : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!multiplies_bf16()) GTEST_SKIP() << "no AVX-512 BF16 and VBMI2";
  }
};

TEST_P(GradientBf16, MatchesTheDenseWeight) {
  Random random(12);
  const Pattern pattern = Pattern::parse(GetParam());
  const int tokens[] = {1, 2, 3, 5, 6, 7, 31, 40, 47, 63, 64, 65, 96, 127, 128, 129, 200, 257, 530};
  for (const int t : tokens)
    check_both(
        random,
        Problem(cpu::random_weight(
            random, pattern, random_int(random, 1, 230), random_int(random, 1, 200), Dtype::bf16,
            {.row_segments = {}, .col_segments = {}, .permuted = random_int(random, 0, 2) == 0})),
        t);
}

TEST_P(GradientBf16, ReadsSegments) {
  Random random(13);
  const Problem problem(cpu::random_weight(
      random, Pattern::parse(GetParam()), 150, 211, Dtype::bf16,
      {.row_segments = {37, 0, 113}, .col_segments = {3, 70, 1, 137}, .permuted = true}));
  for (const int tokens : {4, 70}) check_both(random, problem, tokens);
}

TEST_P(GradientBf16, IsTheSameBitsForAnyThreads) {
  Random random(5);
  const Problem problem(
      cpu::random_weight(random, Pattern::parse(GetParam()), 300, 500, Dtype::bf16));
  const std::vector<Bits> values = problem.values();
  for (const std::int64_t tokens : {7, 48, 333}) {
    const Matrix dy(random, tokens, 300, Layout::token_major);
    const Matrix x(random, tokens, 500, Layout::token_major);
    std::vector<Bits> first_dx, first_dvalues;
    for (const int threads : {1, 2, 7}) {
      std::vector<Bits> dx(static_cast<std::size_t>(tokens * 500)), dvalues(values.size());
      multiply_transposed_bf16(problem.kept, values, dy.input(), {dx.data(), tokens, 500}, threads);
      sampled_product_bf16(problem.kept, dy.input(), x.input(), dvalues, threads);
      if (threads == 1) first_dx = dx, first_dvalues = dvalues;
      EXPECT_EQ(dx, first_dx);
      EXPECT_EQ(dvalues, first_dvalues);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Patterns, GradientBf16,
                         testing::Values("dense", "2:4", "2:8", "1:4", "2:16", "2:32", "3:5", "5:7",
                                         "vw32/8:32", "bw4x4/1:4", "bw32x32/1:4", "64:2:8",
                                         "16:2:16", "8:3/6:8"));

class GradientBf16Results : public testing::Test {
 protected:
  void SetUp() override {
    if (!multiplies_bf16()) GTEST_SKIP() << "no AVX-512 BF16 and VBMI2";
  }
};

TEST_F(GradientBf16Results, OfLongSums) {
  Random random(8);
  const Problem problem(cpu::random_weight(random, Pattern::parse("2:8"), 1030, 72, Dtype::bf16));
  for (const int tokens : {9, 1100}) {
    check_transposed(random, problem, tokens, Layout::token_major, Layout::token_major);
    check_sampled(random, problem, tokens, Layout::token_major, Layout::token_major);
  }
}

TEST_F(GradientBf16Results, OfEmptyProductsAreZero) {
  Random random(6);
  const Problem problem(cpu::random_weight(random, Pattern::parse("2:4"), 8, 12, Dtype::bf16));
  const std::vector<Bits> values = problem.values();
  std::vector<Bits> dvalues(values.size(), 7);
  sampled_product_bf16(problem.kept, {nullptr, 0, 8}, {nullptr, 0, 12}, dvalues);
  EXPECT_EQ(dvalues, std::vector<Bits>(dvalues.size()));
  multiply_transposed_bf16(problem.kept, values, {nullptr, 0, 8}, {nullptr, 0, 12});

  const Problem no_rows(cpu::random_weight(random, Pattern::parse("2:4"), 0, 12, Dtype::bf16));
  const Problem no_cols(cpu::random_weight(random, Pattern::parse("2:4"), 8, 0, Dtype::bf16));
  for (const std::int64_t tokens : {3, 150}) {
    std::vector<Bits> dx(static_cast<std::size_t>(tokens * 12), kNan);
    std::vector<Bits> dy(static_cast<std::size_t>(tokens * 8));
    multiply_transposed_bf16(no_rows.kept, {}, {nullptr, tokens, 0}, {dx.data(), tokens, 12});
    EXPECT_EQ(dx, std::vector<Bits>(dx.size()));
    sampled_product_bf16(no_rows.kept, {nullptr, tokens, 0}, {dx.data(), tokens, 12}, {});
    multiply_transposed_bf16(no_cols.kept, {}, {dy.data(), tokens, 8}, {nullptr, tokens, 0});
    sampled_product_bf16(no_cols.kept, {dy.data(), tokens, 8}, {nullptr, tokens, 0}, {});
  }
}

TEST_F(GradientBf16Results, ShapesThatDoNotFit) {
  Random random(7);
  const Problem problem(cpu::random_weight(random, Pattern::parse("2:4"), 8, 12, Dtype::bf16));
  std::vector<Bits> values = problem.values(), dy(5 * 8), x(5 * 12);
  const auto call = [&](std::int64_t tokens, std::int64_t rows, std::int64_t cols) {
    multiply_transposed_bf16(problem.kept, values, {dy.data(), tokens, rows}, {x.data(), 5, cols});
  };
  call(5, 8, 12);
  EXPECT_THROW(call(4, 8, 12), InvalidArgument);
  EXPECT_THROW(call(5, 7, 12), InvalidArgument);
  EXPECT_THROW(call(5, 8, 11), InvalidArgument);
  values.pop_back();
  EXPECT_THROW(call(5, 8, 12), InvalidArgument);
}

TEST(GradientBf16Missing, IsSaid) {
  if (multiplies_bf16()) GTEST_SKIP() << "this processor has the instructions";
  Random random(7);
  const SparseMatrix weight = cpu::random_weight(random, Pattern::parse("2:4"), 8, 12, Dtype::bf16);
  std::vector<Bits> values(weight.values.size() / 2), dy(5 * 8), x(5 * 12);
  EXPECT_THROW(multiply_transposed_bf16(KeptBits(weight.view()), values, {dy.data(), 5, 8},
                                        {x.data(), 5, 12}),
               InvalidArgument);
}

}  // namespace
}  // namespace coppice
