// The product against the double-precision reference, on every instruction set of the machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "coppice/error.h"
#include "coppice/linear.h"
#include "cpu/random_problem.h"
#include "cpu/targets.h"

namespace coppice::cpu {
namespace {

constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16};

void run_problem(Random& random, const Problem& p) {
  SCOPED_TRACE(describe(p));
  const SparseMatrix weight = random_weight(random, p.pattern, p.rows, p.cols, p.dtype, p.options);
  const PackedWeight packed(weight.view(), random_int(random, 1, 2));
  GuardedActivations x(random, p.tokens, p.cols), y(random, p.tokens, p.rows);
  x.fill(random);
  const RandomEpilogue epilogue(random, p.rows);
  multiply(packed, x.input(), y.view, epilogue.epilogue, random_int(random, 1, 3));
  expect_matches_reference(weight, x.input(), y.view, epilogue.epilogue);
  EXPECT_TRUE(y.guards_untouched());
}

// Two lengths that sum to `size`, or none.
std::vector<std::int64_t> random_segments(Random& random, std::int64_t size) {
  if (size < 2 || random_int(random, 0, 2) != 0) return {};
  const std::int64_t first = random_int(random, 1, static_cast<int>(size) - 1);
  return {first, size - first};
}

Problem random_problem(Random& random, int max_rows, int max_cols) {
  Problem p;
  p.pattern = random_pattern(random);
  p.rows = random_int(random, 1, max_rows);
  p.cols = random_int(random, 1, max_cols);
  p.tokens = random_int(random, 0, 3) == 0 ? random_int(random, 1, 85) : random_int(random, 1, 9);
  p.dtype = kDtypes[random_int(random, 0, 2)];
  p.options.row_segments = random_segments(random, p.rows);
  p.options.col_segments = random_segments(random, p.cols);
  p.options.permuted = random_int(random, 0, 3) == 0;
  return p;
}

TEST(Multiply, MatchesTheReferenceOnRandomProblems) {
  int seed = 10;
  for_each_target([&] {
    Random random(seed++);
    for (int trial = 0; trial < 600 && !testing::Test::HasFailure(); ++trial)
      run_problem(random, random_problem(random, 100, 400));
  });
}

TEST(Multiply, MatchesTheReferenceOnTinyShapes) {
  int seed = 20;
  for_each_target([&] {
    Random random(seed++);
    for (int trial = 0; trial < 600 && !testing::Test::HasFailure(); ++trial)
      run_problem(random, random_problem(random, 4, 12));
  });
}

// Every kernel: formats, windows, dtypes, tiles.
TEST(Multiply, MatchesTheReferenceForEveryKernel) {
  constexpr const char* kPatterns[] = {
      "dense",        "1:2",        "2:4",       "1:4",        "3:4",         "4:8",
      "2:8",          "3:7",        "1:16",      "5:16",       "8:32",        "16:32",
      "11:33",        "16:64",      "8:128",     "70:128",     "16:256",      "vw4/8:32",
      "vw16/8:32",    "vw32/16:32", "vw48/3:16", "bw4x4/8:32", "bw16x16/1:4", "bw32x32/1:2",
      "bw3x5/2:7",    "64:2:8",     "16:2:16",   "8:2:8",      "64:3/6:8",    "32:5/12:32",
      "128:20/70:200"};
  int seed = 30;
  for_each_target([&] {
    Random random(seed++);
    for (const char* pattern : kPatterns)
      for (Dtype dtype : kDtypes)
        for (std::int64_t tokens : {1, 2, 3, 4, 5, 8, 11, 37})
          if (!testing::Test::HasFailure())
            run_problem(random, {Pattern::parse(pattern), random_int(random, 60, 140),
                                 random_int(random, 500, 700), tokens, dtype});
  });
}

TEST(Multiply, TakesEmptyShapes) {
  Random random(40);
  for (const char* pattern : {"2:4", "vw32/8:32", "64:2:8", "dense", "bw4x4/8:32"}) {
    for (auto [rows, cols, tokens] : {std::array<std::int64_t, 3>{0, 8, 2}, {8, 8, 0}, {0, 0, 0}}) {
      const SparseMatrix weight =
          random_weight(random, Pattern::parse(pattern), rows, cols, Dtype::f32);
      const std::vector<float> x(static_cast<std::size_t>(tokens * cols), 1.0f);
      multiply(PackedWeight(weight.view()), {x.data(), tokens, cols}, {nullptr, tokens, rows});
    }
    // No columns: the bias alone.
    const SparseMatrix weight = random_weight(random, Pattern::parse(pattern), 20, 0, Dtype::bf16);
    const std::vector<float> bias(20, 1.5f);
    std::vector<float> y(40, -1.0f);
    multiply(PackedWeight(weight.view()), {nullptr, 2, 0}, {y.data(), 2, 20}, {.bias = bias});
    EXPECT_THAT(y, testing::Each(1.5f)) << pattern;
  }
}

TEST(Multiply, GivesTheSameBitsForEveryThreadCount) {
  Random random(41);
  for (const char* text : {"2:4", "8:32", "vw32/8:32", "64:2:8", "bw4x4/8:32", "dense"}) {
    for (std::int64_t tokens : {1, 3, 8, 40}) {
      const std::int64_t rows = 1000, cols = 520;
      const SparseMatrix weight =
          random_weight(random, Pattern::parse(text), rows, cols, Dtype::bf16);
      const PackedWeight packed(weight.view(), 2);
      const std::vector<float> x = random_floats(random, tokens * cols);
      std::vector<float> first(static_cast<std::size_t>(tokens * rows)), again(first.size());
      multiply(packed, {x.data(), tokens, cols}, {first.data(), tokens, rows}, {}, 1);
      for (int threads : {2, 3, 7}) {
        multiply(packed, {x.data(), tokens, cols}, {again.data(), tokens, rows}, {}, threads);
        ASSERT_EQ(std::memcmp(first.data(), again.data(), first.size() * sizeof(float)), 0) << text;
      }
    }
  }
}

// A non-finite activation reaches the rows that keep its column, and no others.
TEST(Multiply, PassesNonFiniteActivationsOn) {
  int seed = 50;
  for_each_target([&] {
    Random random(seed++);
    for (int trial = 0; trial < 200; ++trial) {
      Problem p = random_problem(random, 70, 200);
      SCOPED_TRACE(describe(p));
      const SparseMatrix weight =
          random_weight(random, p.pattern, p.rows, p.cols, p.dtype, p.options);
      std::vector<float> x = random_floats(random, p.tokens * p.cols);
      const std::int64_t token = random_int(random, 0, static_cast<int>(p.tokens) - 1);
      const std::int64_t col = random_int(random, 0, static_cast<int>(p.cols) - 1);
      x[static_cast<std::size_t>(token * p.cols + col)] =
          trial % 2 == 0 ? std::numeric_limits<float>::quiet_NaN()
                         : std::numeric_limits<float>::infinity();
      const Activations view{x.data(), p.tokens, p.cols};
      std::vector<float> y(static_cast<std::size_t>(p.tokens * p.rows));
      std::vector<double> expected(y.size());
      multiply(PackedWeight(weight.view()), view, {y.data(), p.tokens, p.rows});
      reference_multiply(weight.view(), view, {expected.data(), p.tokens, p.rows});
      for (std::size_t i = 0; i < y.size(); ++i)
        ASSERT_EQ(std::isfinite(y[i]), std::isfinite(expected[i])) << i;
    }
  });
}

// fp16 has a path of its own on machines without a conversion instruction.
TEST(Multiply, WidensEveryHalfAndBfloat) {
  for_each_target([&] {
    for (Dtype dtype : {Dtype::f16, Dtype::bf16}) {
      constexpr std::int64_t kRows = 65536;
      SparseMatrix weight;
      weight.grid =
          std::make_shared<const Grid>(Pattern::parse("dense"), WeightShape{kRows, 1, {}, {}});
      weight.dtype = dtype;
      for (std::uint32_t bits = 0; bits < kRows; ++bits) {
        weight.values.push_back(static_cast<std::byte>(bits & 0xff));
        weight.values.push_back(static_cast<std::byte>(bits >> 8));
      }
      const float one = 1;
      std::vector<float> y(kRows);
      multiply(PackedWeight(weight.view()), {&one, 1, 1}, {y.data(), 1, kRows});
      for (std::uint32_t bits = 0; bits < kRows; ++bits) {
        const float expected = to_float(dtype, bits);
        if (std::isnan(expected)) {
          ASSERT_TRUE(std::isnan(y[bits])) << bits;
        } else {
          ASSERT_EQ(y[bits], expected) << bits;
        }
      }
    }
  });
}

TEST(Multiply, RefusesWhatDoesNotFit) {
  Random random(60);
  const SparseMatrix weight = random_weight(random, Pattern::parse("2:4"), 6, 8, Dtype::f32);
  const PackedWeight packed(weight.view());
  std::vector<float> x(16), y(12), bias(5);
  EXPECT_THROW(multiply(packed, {x.data(), 2, 7}, {y.data(), 2, 6}), InvalidArgument);
  EXPECT_THROW(multiply(packed, {x.data(), 2, 8}, {y.data(), 2, 5}), InvalidArgument);
  EXPECT_THROW(multiply(packed, {x.data(), 2, 8}, {y.data(), 1, 6}), InvalidArgument);
  EXPECT_THROW(multiply(packed, {x.data(), 2, 8}, {y.data(), 2, 6}, {.bias = bias}),
               InvalidArgument);
  EXPECT_THROW(multiply(packed, {x.data(), 2, 8, Layout::token_major, 7}, {y.data(), 2, 6}),
               InvalidArgument);
  EXPECT_THROW(multiply(packed, {nullptr, 2, 8}, {y.data(), 2, 6}), InvalidArgument);
  EXPECT_THROW(multiply(packed, {x.data(), -1, 8}, {y.data(), -1, 6}), InvalidArgument);
}

}  // namespace
}  // namespace coppice::cpu
