// The product of activations in bf16 against the double-precision reference, on every instruction
// set of the machine: by look-ups where it has AVX-512 BF16, converted elsewhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "coppice/error.h"
#include "coppice/gradient.h"
#include "coppice/linear.h"
#include "cpu/bf16_matrix.h"
#include "cpu/random_problem.h"
#include "cpu/targets.h"

namespace coppice::cpu {
namespace {

using testing::HasSubstr;
using testing::Not;
using Bits = std::uint16_t;

Layout random_layout(Random& random) {
  return random_int(random, 0, 1) == 0 ? Layout::token_major : Layout::feature_major;
}

// [tokens, features]
std::vector<float> floats(const Bf16Matrix& m) {
  std::vector<float> out;
  for (std::int64_t t = 0; t < m.view.tokens; ++t)
    for (std::int64_t f = 0; f < m.view.features; ++f)
      out.push_back(static_cast<float>(m.at(t, f)));
  return out;
}

void run_problem(Random& random, const Problem& p) {
  SCOPED_TRACE(describe(p));
  const SparseMatrix weight = random_weight(random, p.pattern, p.rows, p.cols, p.dtype, p.options);
  const PackedWeight packed(weight.view(), random_int(random, 1, 2));
  const Bf16Matrix x(random, p.tokens, p.cols, random_layout(random));
  Bf16Matrix y(random, p.tokens, p.rows, random_layout(random));
  std::ranges::fill(y.memory, kBf16Nan);
  const RandomEpilogue epilogue(random, p.rows);
  multiply_bf16(packed, x.input(), y.view, epilogue.epilogue, random_int(random, 1, 3));
  EXPECT_TRUE(y.guards_untouched());
  const std::vector<float> wide_x = floats(x);
  std::vector<float> wide_y = floats(y);
  expect_matches_reference(weight, {wide_x.data(), p.tokens, p.cols},
                           {wide_y.data(), p.tokens, p.rows}, epilogue.epilogue, 0x1.01p-8);
}

constexpr const char* kPatterns[] = {
    "dense",       "1:2",         "2:4",        "1:4",          "3:4",        "4:8",
    "2:8",         "3:7",         "1:16",       "5:16",         "8:32",       "16:32",
    "1:32",        "11:33",       "16:64",      "16:256",       "vw4/8:32",   "vw16/8:32",
    "vw32/16:32",  "vw48/3:16",   "vw70/5:100", "vw64/1:64",    "bw4x4/8:32", "bw4x40/1:4",
    "bw16x16/1:4", "bw32x32/1:2", "bw3x5/2:7",  "64:2:8",       "16:2:16",    "8:2:8",
    "64:3/6:8",    "32:5/12:32",  "128:2:100",  "128:20/70:200"};

TEST(MultiplyBf16, MatchesTheReferenceForEveryPattern) {
  int seed = 130;
  for_each_target([&] {
    Random random(seed++);
    for (const char* pattern : kPatterns)
      for (const std::int64_t tokens : {1, 7, 9, 37})
        if (!testing::Test::HasFailure())
          run_problem(random, {Pattern::parse(pattern),
                               random_int(random, 60, 140),
                               random_int(random, 500, 700),
                               tokens,
                               Dtype::bf16,
                               {{}, {}, random_int(random, 0, 2) == 0}});
  });
}

TEST(MultiplyBf16, MatchesTheReferenceOnTinyShapes) {
  int seed = 140;
  for_each_target([&] {
    Random random(seed++);
    for (int trial = 0; trial < 100 && !testing::Test::HasFailure(); ++trial)
      run_problem(random,
                  {Pattern::parse(kPatterns[random_int(random, 0, std::ssize(kPatterns) - 1)]),
                   random_int(random, 1, 5),
                   random_int(random, 1, 40),
                   random_int(random, 1, 40),
                   Dtype::bf16,
                   {}});
  });
}

// Several blocks of columns, passes of tokens and chunks of panels.
TEST(MultiplyBf16, MatchesTheReferenceBeyondABlock) {
  Random random(150);
  for (const char* pattern : {"2:4", "3:7", "2:8", "vw32/8:32", "64:2:8", "bw32x32/1:4"})
    for (const bool permuted : {false, true})
      run_problem(
          random,
          {Pattern::parse(pattern),
           300,
           1601,
           270,
           Dtype::bf16,
           {.row_segments = {37, 0, 263}, .col_segments = {3, 70, 1, 1527}, .permuted = permuted}});
}

TEST(MultiplyBf16, TakesWeightsOfOtherTypes) {
  Random random(160);
  for (const Dtype dtype : {Dtype::f32, Dtype::f16})
    run_problem(random, {Pattern::parse("2:8"), 70, 90, 20, dtype, {}});
}

TEST(MultiplyBf16, TakesEmptyShapes) {
  Random random(170);
  for (const char* pattern : {"2:4", "vw32/8:32", "64:2:8", "dense"}) {
    for (const std::int64_t tokens : {2, 20}) {
      const SparseMatrix no_rows =
          random_weight(random, Pattern::parse(pattern), 0, 8, Dtype::bf16);
      const std::vector<Bits> x(static_cast<std::size_t>(tokens * 8), bf16_bits(1));
      multiply_bf16(PackedWeight(no_rows.view()), {x.data(), tokens, 8}, {nullptr, tokens, 0});
      const SparseMatrix no_cols =
          random_weight(random, Pattern::parse(pattern), 20, 0, Dtype::bf16);
      const std::vector<float> bias(20, 1.5f);
      std::vector<Bits> y(static_cast<std::size_t>(tokens * 20), kBf16Nan);
      multiply_bf16(PackedWeight(no_cols.view()), {nullptr, tokens, 0}, {y.data(), tokens, 20},
                    {.bias = bias});
      EXPECT_THAT(y, testing::Each(bf16_bits(1.5f))) << pattern;
      multiply_bf16(PackedWeight(no_cols.view()), {nullptr, 0, 0}, {nullptr, 0, 20});
    }
  }
}

TEST(MultiplyBf16, GivesTheSameBitsForEveryThreadCount) {
  Random random(180);
  for (const char* pattern : {"2:4", "8:32", "vw32/8:32", "64:2:8", "bw4x4/8:32"}) {
    for (const std::int64_t tokens : {3, 40, 300}) {
      const SparseMatrix weight =
          random_weight(random, Pattern::parse(pattern), 400, 520, Dtype::bf16);
      const PackedWeight packed(weight.view(), 2);
      const Bf16Matrix x(random, tokens, 520, Layout::token_major);
      std::vector<Bits> first;
      for (const int threads : {1, 2, 7}) {
        std::vector<Bits> y(static_cast<std::size_t>(tokens * 400));
        multiply_bf16(packed, x.input(), {y.data(), tokens, 400}, {}, threads);
        if (threads == 1) first = y;
        ASSERT_EQ(y, first) << pattern;
      }
    }
  }
}

// A non-finite activation reaches the rows that keep its column, and no others, also where the last
// pair of a window has one weight only.
TEST(MultiplyBf16, PassesNonFiniteActivationsOn) {
  int seed = 190;
  for_each_target([&] {
    Random random(seed++);
    for (const char* pattern : kPatterns) {
      const std::int64_t rows = 70, cols = 140, tokens = 20;
      const SparseMatrix weight =
          random_weight(random, Pattern::parse(pattern), rows, cols, Dtype::bf16);
      Bf16Matrix x(random, tokens, cols, random_layout(random));
      for (std::int64_t t = 0; t < tokens; ++t)
        x.view.at(t, random_int(random, 0, cols - 1)) = t % 2 == 0 ? kBf16Nan : Bits{0x7f80};
      const std::vector<float> wide = floats(x);
      std::vector<double> expected(static_cast<std::size_t>(tokens * rows));
      std::vector<Bits> y(expected.size());
      reference_multiply(weight.view(), {wide.data(), tokens, cols},
                         {expected.data(), tokens, rows});
      multiply_bf16(PackedWeight(weight.view()), x.input(), {y.data(), tokens, rows});
      for (std::size_t i = 0; i < y.size(); ++i)
        ASSERT_EQ(std::isfinite(bf16_value(y[i])), std::isfinite(expected[i])) << pattern << i;
    }
  });
}

TEST(MultiplyBf16, SaysByWhichKernel) {
  Random random(200);
  const auto name = [&](const char* pattern, Dtype dtype, std::int64_t tokens, Dtype activations) {
    const SparseMatrix weight = random_weight(random, Pattern::parse(pattern), 64, 512, dtype);
    return kernel_name(PackedWeight(weight.view()), tokens, activations);
  };
  if (bf16_instructions() == Bf16Instructions::none) {
    EXPECT_THAT(name("2:4", Dtype::bf16, 256, Dtype::bf16), Not(HasSubstr("look-up")));
    GTEST_SKIP() << "no AVX-512 BF16 and VBMI2";
  }
  for (const char* pattern : {"2:4", "2:8", "vw32/8:32", "vw32/8:64", "64:2:8", "bw4x4/8:32"})
    EXPECT_THAT(name(pattern, Dtype::bf16, 256, Dtype::bf16), HasSubstr("look-up")) << pattern;
  EXPECT_THAT(name("2:4", Dtype::bf16, 1, Dtype::bf16), HasSubstr("few-tokens"));
  EXPECT_THAT(name("2:4", Dtype::bf16, 256, Dtype::f32), HasSubstr("many-tokens"));
  EXPECT_THAT(name("2:4", Dtype::f32, 256, Dtype::bf16), HasSubstr("many-tokens"));
  EXPECT_THAT(name("2:64", Dtype::bf16, 256, Dtype::bf16), HasSubstr("many-tokens"));
  EXPECT_THAT(name("64:2:100", Dtype::bf16, 256, Dtype::bf16), HasSubstr("many-tokens"));
}

TEST(MultiplyBf16, RefusesWhatDoesNotFit) {
  Random random(210);
  const SparseMatrix weight = random_weight(random, Pattern::parse("2:4"), 6, 8, Dtype::bf16);
  const PackedWeight packed(weight.view());
  std::vector<Bits> x(16), y(12);
  std::vector<float> bias(5);
  EXPECT_THROW(multiply_bf16(packed, {x.data(), 2, 7}, {y.data(), 2, 6}), InvalidArgument);
  EXPECT_THROW(multiply_bf16(packed, {x.data(), 2, 8}, {y.data(), 2, 5}), InvalidArgument);
  EXPECT_THROW(multiply_bf16(packed, {x.data(), 2, 8}, {y.data(), 1, 6}), InvalidArgument);
  EXPECT_THROW(multiply_bf16(packed, {x.data(), 2, 8}, {y.data(), 2, 6}, {.bias = bias}),
               InvalidArgument);
  EXPECT_THROW(multiply_bf16(packed, {nullptr, 2, 8}, {y.data(), 2, 6}), InvalidArgument);
}

}  // namespace
}  // namespace coppice::cpu
