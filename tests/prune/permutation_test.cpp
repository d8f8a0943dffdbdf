#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "coppice/error.h"
#include "coppice/permutation_search.h"
#include "prune/mask_reference.h"

namespace coppice {
namespace {

using ::testing::HasSubstr;
using testing::integer_scores;
using testing::normal_scores;
using testing::Scores;
using ::testing::ThrowsMessage;

const char* const kPatterns[] = {"2:4",       "4:8",       "1:5",       "vw4/2:8",
                                 "vw16/8:32", "bw4x4/2:4", "bw8x3/1:3", "4:2:8",
                                 "16:2:5",    "8:3/6:8",   "bw1x4/2:4"};

// Columns of very different size side by side, and rows of different kinds mixed, as models have
// them: what permutations are for.
Scores structured_scores(std::int64_t rows, std::int64_t cols, std::mt19937& random) {
  Scores scores = normal_scores(rows, cols, random);
  for (std::int64_t c = 0; c < cols; ++c)
    for (std::int64_t r = 0; r < rows; ++r)
      scores.at(r, c) *= (c / 8 % 3 == 0 ? 4.0f : 1.0f) * ((c + r * 5) % 11 < 4 ? 3.0f : 1.0f);
  return scores;
}

Scores permuted(const Scores& scores, const Permutation& input, const Permutation& output) {
  Scores result(scores.rows, scores.cols);
  for (std::int64_t r = 0; r < scores.rows; ++r)
    for (std::int64_t c = 0; c < scores.cols; ++c)
      result.at(r, c) =
          scores.data[output[static_cast<std::size_t>(r)] * static_cast<std::size_t>(scores.cols) +
                      input[static_cast<std::size_t>(c)]];
  return result;
}

// Do both permutations stay inside their segments?
void expect_inside(const Permutation& permutation, std::span<const std::int64_t> segments) {
  check_permutation(permutation, std::ssize(permutation));
  std::int64_t begin = 0;
  for (std::int64_t length : segments) {
    for (std::int64_t i = begin; i < begin + length; ++i) {
      EXPECT_GE(permutation[static_cast<std::size_t>(i)], begin);
      EXPECT_LT(permutation[static_cast<std::size_t>(i)], begin + length);
    }
    begin += length;
  }
}

TEST(Permutation, InvertsAndComposes) {
  const Permutation a{2, 0, 1, 3}, b{1, 0, 3, 2};
  EXPECT_TRUE(is_identity(compose(a, inverse(a))));
  const std::vector<int> x{10, 11, 12, 13};
  const Permutation both = compose(a, b);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(x[both[i]], x[a[b[i]]]);
  EXPECT_THAT(
      [] {
        inverse(Permutation{0, 0});
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("permutation[1] is 0, which is there before")));
  EXPECT_THAT(
      [] {
        check_permutation(Permutation{0, 2}, 2);
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("there are 2 channels")));
  EXPECT_THAT([&] { compose(a, Permutation{0}); },
              ThrowsMessage<InvalidArgument>(HasSubstr("has 4 entries")));
}

TEST(Permutation, MovesAnyDtypeBitForBit) {
  for (Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::i8}) {
    const std::int64_t rows = 3, cols = 5, bytes = dtype_bytes(dtype);
    std::vector<std::byte> in(static_cast<std::size_t>(rows * cols * bytes)), out(in.size());
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i * 7);
    const DenseView from{in.data(), dtype, rows, cols, 0};
    const MutableDenseView to{out.data(), dtype, rows, cols, 0};
    const Permutation p{4, 2, 0, 1, 3}, q{2, 0, 1};
    permute_cols(from, p, to);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c)
        EXPECT_TRUE(std::equal(to.row(r) + c * bytes, to.row(r) + (c + 1) * bytes,
                               from.row(r) + p[static_cast<std::size_t>(c)] * bytes));
    permute_rows(from, q, to, 2);
    for (std::int64_t r = 0; r < rows; ++r)
      EXPECT_TRUE(std::equal(to.row(r), to.row(r) + cols * bytes,
                             from.row(q[static_cast<std::size_t>(r)])));
  }
}

TEST(FindPermutation, ReportsTheScoreThatTheMaskKeepsAndGains) {
  std::mt19937 random(1);
  const Scores scores = structured_scores(64, 96, random);
  for (const char* text : kPatterns) {
    SCOPED_TRACE(text);
    const Pattern pattern = Pattern::parse(text);
    const auto input = find_input_permutation(scores.view(), pattern);
    const auto output = find_output_permutation(scores.view(), pattern);
    const Permutation rows = identity_permutation(64), cols = identity_permutation(96);
    EXPECT_DOUBLE_EQ(input.identity_score, select_mask(scores.view(), pattern).kept_score);
    EXPECT_DOUBLE_EQ(
        input.kept_score,
        select_mask(permuted(scores, input.permutation, rows).view(), pattern).kept_score);
    EXPECT_DOUBLE_EQ(
        output.kept_score,
        select_mask(permuted(scores, cols, output.permutation).view(), pattern).kept_score);
    EXPECT_GT(input.kept_score, 1.01 * input.identity_score);
    EXPECT_TRUE(input.converged && output.converged);
    if (pattern.vec_rows > 1)
      EXPECT_GT(output.kept_score, 1.003 * output.identity_score);
    else
      EXPECT_TRUE(is_identity(output.permutation));

    const auto both = alternate_permutations(scores.view(), pattern);
    EXPECT_GE(both.kept_score, input.kept_score * 0.999);
    EXPECT_NEAR(both.kept_score,
                select_mask(permuted(scores, both.input, both.output).view(), pattern).kept_score,
                1e-9 * both.kept_score);
  }
}

TEST(FindPermutation, NeverWorseThanTheIdentityOnAnyPatternShapeAndSegments) {
  std::mt19937 random(2);
  auto pick = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  for (int i = 0; i < 150; ++i) {
    const Pattern pattern = testing::random_pattern(random, true);
    const Scores scores = pick(0, 1) ? integer_scores(pick(0, 40), pick(0, 40), pick(0, 9), random)
                                     : normal_scores(pick(1, 60), pick(1, 60), random);
    PermutationOptions options{testing::random_segments(scores.rows, random),
                               testing::random_segments(scores.cols, random)};
    options.assignment_size = pick(2, 9);
    options.seed = static_cast<std::uint64_t>(i);
    options.max_passes = pick(0, 40);
    SCOPED_TRACE(pattern.to_string());
    for (const bool columns : {true, false}) {
      const auto found = columns ? find_input_permutation(scores.view(), pattern, options)
                                 : find_output_permutation(scores.view(), pattern, options);
      ASSERT_EQ(std::ssize(found.permutation), columns ? scores.cols : scores.rows);
      EXPECT_GE(found.kept_score, found.identity_score);
      expect_inside(found.permutation, columns ? options.col_segments : options.row_segments);
    }
  }
}

TEST(FindPermutation, IsTheSameOnAnyNumberOfThreadsAndForTheSameSeed) {
  std::mt19937 random(3);
  const Scores scores = structured_scores(70, 120, random);
  for (const char* text : kPatterns) {
    const Pattern pattern = Pattern::parse(text);
    PermutationOptions one{.seed = 7, .assignment_size = 6, .max_passes = 24}, three = one;
    three.threads = 3;
    EXPECT_EQ(find_input_permutation(scores.view(), pattern, one).permutation,
              find_input_permutation(scores.view(), pattern, three).permutation);
    EXPECT_EQ(find_output_permutation(scores.view(), pattern, one).permutation,
              find_output_permutation(scores.view(), pattern, three).permutation);
  }
}

TEST(FindPermutation, IsTheSameOnEveryInstructionSet) {
  std::mt19937 random(8);
  const Scores scores = structured_scores(70, 120, random);
  const std::int64_t all = hwy::SupportedTargets();
  for (const char* text : {"2:4", "vw4/2:8", "16:2:5"}) {
    const Pattern pattern = Pattern::parse(text);
    const PermutationOptions options{.assignment_size = 7, .max_passes = 16};
    const auto input = find_input_permutation(scores.view(), pattern, options);
    const auto output = find_output_permutation(scores.view(), pattern, options);
    for (std::int64_t left = all; left != 0; left &= left - 1) {
      hwy::GetChosenTarget().Update(left & -left);
      EXPECT_EQ(find_input_permutation(scores.view(), pattern, options).permutation,
                input.permutation);
      EXPECT_EQ(find_output_permutation(scores.view(), pattern, options).permutation,
                output.permutation);
    }
    hwy::GetChosenTarget().Update(all);
  }
}

// The best of all ways to share eight columns among two groups.
TEST(FindPermutation, FindsTheBestOfSmallProblems) {
  std::mt19937 random(4);
  for (const char* text : {"2:4", "vw3/2:4", "vw2/1:4"}) {
    const Pattern pattern = Pattern::parse(text);
    double found_gain = 0, best_gain = 0;
    for (int i = 0; i < 20; ++i) {
      const Scores scores = normal_scores(6, 8, random);
      double best = 0;
      for (unsigned set = 0; set < 256; ++set) {
        if (std::popcount(set) != 4) continue;
        Permutation order;
        for (unsigned want : {1u, 0u})
          for (unsigned c = 0; c < 8; ++c)
            if ((set >> c & 1u) == want) order.push_back(c);
        best = std::max(
            best, select_mask(permuted(scores, order, identity_permutation(6)).view(), pattern)
                      .kept_score);
      }
      const auto found = find_input_permutation(scores.view(), pattern, {.tolerance = 0});
      EXPECT_LE(found.kept_score, best * (1 + 1e-12));
      found_gain += found.kept_score - found.identity_score;
      best_gain += best - found.identity_score;
    }
    EXPECT_GT(found_gain, 0.8 * best_gain) << text;
  }
}

TEST(FindPermutation, StopsWhenToldAndSaysSo) {
  std::mt19937 random(5);
  const Scores scores = structured_scores(64, 96, random);
  const Pattern pattern = Pattern::parse("4:2:8");
  int calls = 0;
  PermutationOptions options;
  options.progress = [&](const PermutationProgress& progress) {
    EXPECT_EQ(progress.limit_seconds, 600);
    return ++calls < 3;
  };
  const auto stopped = find_input_permutation(scores.view(), pattern, options);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(stopped.passes, 2);
  EXPECT_FALSE(stopped.converged);
  EXPECT_GE(stopped.kept_score, stopped.identity_score);
  const auto late = find_input_permutation(scores.view(), pattern, {.limit_seconds = 0});
  EXPECT_FALSE(late.converged);
  EXPECT_EQ(late.passes, 0);
}

TEST(FindPermutation, RefusesWhatCannotBeCompared) {
  Scores scores(2, 4);
  const Pattern pattern = Pattern::parse("1:2");
  EXPECT_THAT([&] { find_input_permutation(scores.view(), pattern, {.assignment_size = 1}); },
              ThrowsMessage<InvalidArgument>(HasSubstr("assignment_size")));
  scores.at(1, 1) = std::numeric_limits<float>::infinity();
  EXPECT_THAT([&] { find_input_permutation(scores.view(), pattern); },
              ThrowsMessage<InvalidArgument>(HasSubstr("infinite")));
  scores.at(1, 1) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT([&] { find_output_permutation(scores.view(), pattern); },
              ThrowsMessage<InvalidArgument>(HasSubstr("NaN")));
}

// Compressed with the permutation, decompressed to the very weights that the mask keeps.
TEST(SelectMaskPermuted, GoesThroughTheCanonicalForm) {
  std::mt19937 random(6);
  const Scores weights = structured_scores(33, 53, random);
  for (const char* text : kPatterns) {
    SCOPED_TRACE(text);
    const Pattern pattern = Pattern::parse(text);
    const auto found = find_input_permutation(weights.view(), pattern);
    const MaskResult mask = select_mask_permuted(weights.view(), pattern, found.permutation);
    EXPECT_NEAR(mask.kept_score, found.kept_score, 1e-9 * found.kept_score);
    const SparseMatrix sparse =
        compress(weights.view(), mask.mask, pattern, {.input_permutation = found.permutation});
    EXPECT_NO_THROW(validate(sparse.view()));
    Scores out = normal_scores(33, 53, random);
    decompress(sparse.view(),
               {reinterpret_cast<std::byte*>(out.data.data()), Dtype::f32, 33, 53, 0});
    for (std::int64_t r = 0; r < 33; ++r)
      for (std::int64_t c = 0; c < 53; ++c) {
        const auto i = static_cast<std::size_t>(r * 53 + c);
        ASSERT_EQ(out.data[i], mask.mask.get(r, c) ? weights.data[i] : 0.0f);
      }
  }
}

}  // namespace
}  // namespace coppice
