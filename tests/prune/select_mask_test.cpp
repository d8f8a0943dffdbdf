#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "coppice/error.h"
#include "coppice/prune.h"
#include "prune/mask_reference.h"

namespace coppice {
namespace {

using testing::fills;
using ::testing::HasSubstr;
using testing::integer_scores;
using testing::normal_scores;
using testing::random_pattern;
using testing::random_segments;
using testing::reference_mask;
using testing::Scores;
using ::testing::ThrowsMessage;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::int64_t pick(std::mt19937& random, int low, int high) {
  return std::uniform_int_distribution(low, high)(random);
}

MaskOptions random_options(const Scores& scores, std::mt19937& random) {
  return {random_segments(scores.rows, random), random_segments(scores.cols, random),
          ColumnSearch::automatic, 1};
}

Grid grid_of(const Scores& scores, const Pattern& pattern, const MaskOptions& options) {
  return Grid(pattern, {scores.rows, scores.cols, options.row_segments, options.col_segments});
}

std::string show(const Pattern& pattern, const Scores& scores) {
  return pattern.to_string() + " of " + std::to_string(scores.rows) + " x " +
         std::to_string(scores.cols);
}

// Integers make sums exact and ties frequent, so that masks must agree bit for bit.
TEST(SelectMask, EqualsTryingEverything) {
  std::mt19937 random(1);
  for (int i = 0; i < 400; ++i) {
    const Pattern pattern = random_pattern(random, true);
    const Scores scores = integer_scores(pick(random, 1, 80), pick(random, 1, 30),
                                         static_cast<int>(pick(random, 1, 20)), random);
    const MaskOptions options = random_options(scores, random);
    const MaskResult result = select_mask(scores.view(), pattern, options);
    const Mask expected = reference_mask(scores, grid_of(scores, pattern, options));
    ASSERT_EQ(result.mask, expected) << show(pattern, scores);
    EXPECT_EQ(result.kept_score, testing::masked_score(scores, expected));
    EXPECT_EQ(result.unproven_blocks, 0);
  }
}

TEST(SelectMask, EqualsTryingEverythingOnRealNumbers) {
  std::mt19937 random(2);
  for (int i = 0; i < 200; ++i) {
    const Pattern pattern = random_pattern(random, true);
    const Scores scores = normal_scores(pick(random, 1, 80), pick(random, 1, 30), random);
    const MaskResult result = select_mask(scores.view(), pattern);
    const double expected =
        testing::masked_score(scores, reference_mask(scores, grid_of(scores, pattern, {})));
    EXPECT_NEAR(result.kept_score, expected, 1e-12 * expected) << show(pattern, scores);
    EXPECT_NEAR(result.kept_score, testing::masked_score(scores, result.mask), 1e-12 * expected);
  }
}

TEST(SelectMask, FillsEveryPatternExactly) {
  std::mt19937 random(3);
  for (int i = 0; i < 3000; ++i) {
    const Pattern pattern = random_pattern(random, false);
    const Scores scores =
        i % 2 ? normal_scores(pick(random, 0, 90), pick(random, 0, 300), random)
              : integer_scores(pick(random, 0, 90), pick(random, 0, 300), 1, random);
    MaskOptions options = random_options(scores, random);
    options.columns = pattern.group > 16 ? ColumnSearch::swaps : ColumnSearch::automatic;
    const MaskResult result = select_mask(scores.view(), pattern, options);
    const Grid grid = grid_of(scores, pattern, options);
    ASSERT_TRUE(fills(result.mask, grid)) << show(pattern, scores);
    ASSERT_EQ(result.mask.count(), grid.rows() * grid.kept()) << show(pattern, scores);
  }
}

TEST(SelectMask, SearchesAreOrdered) {
  std::mt19937 random(4);
  for (const char* text : {"64:2:8", "16:2:16", "7:3/6:8", "3:1/5:12", "64:2:32", "5:2:20"}) {
    const Pattern pattern = Pattern::parse(text);
    const Scores scores = normal_scores(70, 100, random);
    auto kept = [&](ColumnSearch search) {
      return select_mask(scores.view(), pattern, {.columns = search}).kept_score;
    };
    const double greedy = kept(ColumnSearch::greedy), swaps = kept(ColumnSearch::swaps);
    const double exact = kept(ColumnSearch::exact);
    EXPECT_LE(greedy, swaps * (1 + 1e-14)) << text;
    EXPECT_LE(swaps, exact * (1 + 1e-14)) << text;
    EXPECT_GT(swaps, 0.98 * exact) << text;
    EXPECT_EQ(kept(ColumnSearch::automatic), exact) << text;
  }
}

TEST(SelectMask, CountsBlocksAndThoseThatAreNotProven) {
  std::mt19937 random(5);
  const Scores scores = normal_scores(130, 100, random);
  auto result = [&](const char* pattern, ColumnSearch search) {
    return select_mask(scores.view(), Pattern::parse(pattern), {.columns = search});
  };
  const MaskResult exact = result("64:2:32", ColumnSearch::automatic);
  EXPECT_EQ(exact.blocks, 3 * 4);
  EXPECT_EQ(exact.unproven_blocks, 0);
  // Of 100 columns the last four are a group of their own, in which nothing is to be chosen.
  const MaskResult greedy = result("64:2:32", ColumnSearch::greedy);
  EXPECT_GT(greedy.unproven_blocks, 0);
  EXPECT_LE(greedy.unproven_blocks, 3 * 3);
  const MaskResult large = result("64:2:48", ColumnSearch::automatic);
  EXPECT_EQ(large.blocks, 3 * 3);
  // Four columns hold all that a vector of two rows can keep, which proves itself.
  EXPECT_EQ(large.unproven_blocks, 2 * 2);
  EXPECT_EQ(result("64:2:48", ColumnSearch::exact).unproven_blocks, 0);
  EXPECT_EQ(result("2:4", ColumnSearch::automatic).blocks, 0);
}

TEST(SelectMask, TiesKeepTheLowerColumn) {
  for (const char* text : {"2:4", "3:8", "12:32", "vw4/2:8", "bw2x2/1:4", "4:2:8", "16:2:32"}) {
    const Pattern pattern = Pattern::parse(text);
    for (float value : {0.0f, -0.0f, 1.0f, -3.5f, 1e-42f, kInfinity}) {
      Scores scores(19, 64);
      std::ranges::fill(scores.data, value);
      const Mask mask = select_mask(scores.view(), pattern).mask;
      const int kept = pattern.has_inner() ? pattern.inner_kept : pattern.kept;
      for (std::int64_t c = 0; c < 64; ++c) {
        const bool expected = c / pattern.block_cols % pattern.group < kept;
        ASSERT_EQ(mask.get(0, c), expected) << text << " " << value << " column " << c;
        ASSERT_EQ(mask.get(18, c), expected) << text << " " << value << " column " << c;
      }
    }
  }
}

TEST(SelectMask, SignsDoNotCount) {
  std::mt19937 random(6);
  for (const char* text : {"2:4", "vw8/2:8", "16:2:8"}) {
    Scores scores = normal_scores(32, 64, random);
    const Mask mask = select_mask(scores.view(), Pattern::parse(text)).mask;
    for (float& score : scores.data) score = -score;
    EXPECT_EQ(select_mask(scores.view(), Pattern::parse(text)).mask, mask);
  }
}

// Powers of two move every score and every sum alike, down to where floats lose bits.
TEST(SelectMask, ScaleDoesNotCount) {
  std::mt19937 random(7);
  for (const char* text : {"2:4", "9:32", "vw8/2:8", "16:2:8", "64:2:32"}) {
    const Scores scores = normal_scores(64, 64, random);
    const Mask mask = select_mask(scores.view(), Pattern::parse(text)).mask;
    for (int exponent : {-100, -60, 20, 120}) {
      Scores scaled = scores;
      for (float& score : scaled.data) score = std::ldexp(score, exponent);
      EXPECT_EQ(select_mask(scaled.view(), Pattern::parse(text)).mask, mask) << text << exponent;
    }
  }
}

TEST(SelectMask, DenormalsAreScores) {
  std::mt19937 random(8);
  for (const char* text : {"2:4", "vw3/2:6", "5:2:8", "4:3/5:9"}) {
    Scores scores = integer_scores(20, 36, 30, random);
    const Mask expected =
        reference_mask(scores, Grid(Pattern::parse(text), {scores.rows, scores.cols, {}, {}}));
    for (float& score : scores.data) score = std::ldexp(score, -149);
    EXPECT_EQ(select_mask(scores.view(), Pattern::parse(text)).mask, expected) << text;
  }
}

TEST(SelectMask, InfinityWins) {
  std::mt19937 random(9);
  for (const char* text : {"1:4", "3:8", "vw4/1:8", "8:2:8", "8:1/3:8", "16:2:32"}) {
    Scores scores = normal_scores(16, 64, random);
    for (float& score : scores.data) score *= 1e37f;
    scores.at(3, 37) = -kInfinity;
    const MaskResult result = select_mask(scores.view(), Pattern::parse(text));
    EXPECT_TRUE(result.mask.get(3, 37)) << text;
    EXPECT_EQ(result.kept_score, kInfinity);
    EXPECT_EQ(result.total_score, kInfinity);
    EXPECT_EQ(result.unproven_blocks, 0);
    EXPECT_TRUE(fills(result.mask, Grid(Pattern::parse(text), {16, 64, {}, {}})));
  }
  // Two infinities in different columns beat one, whatever lies beside it.
  Scores scores(2, 8);
  std::ranges::fill(scores.data, 1e38f);
  scores.at(0, 5) = scores.at(1, 7) = kInfinity;
  const Mask mask = select_mask(scores.view(), Pattern::parse("2:1/2:8")).mask;
  EXPECT_TRUE(mask.get(0, 5) && mask.get(1, 7));
}

TEST(SelectMask, RefusesNanWithItsFirstPlace) {
  std::mt19937 random(10);
  for (const char* text : {"dense", "2:4", "vw4/2:8", "bw4x4/1:2", "64:2:8"}) {
    for (int threads : {1, 3}) {
      Scores scores = normal_scores(200, 600, random);
      scores.at(150, 2) = scores.at(70, 577) = scores.at(70, 590) = kNan;
      EXPECT_THAT([&] { select_mask(scores.view(), Pattern::parse(text), {.threads = threads}); },
                  ThrowsMessage<InvalidArgument>(HasSubstr("row 70, column 577")));
      std::ranges::fill(scores.data, kInfinity);
      scores.at(199, 599) = -kNan;
      EXPECT_THROW(select_mask(scores.view(), Pattern::parse(text), {.threads = threads}),
                   InvalidArgument);
    }
  }
}

TEST(SelectMask, RefusesWhatDoesNotFit) {
  const Scores scores(4, 8);
  const Pattern pattern = Pattern::parse("2:4");
  DenseView view = scores.view();
  view.row_stride = 7;
  EXPECT_THROW(select_mask(view, pattern), InvalidArgument);
  view = scores.view();
  view.dtype = Dtype::i32;
  EXPECT_THROW(select_mask(view, pattern), InvalidArgument);
  EXPECT_THROW(select_mask({}, pattern, {.row_segments = {3}}), InvalidArgument);
  EXPECT_THROW(select_mask(scores.view(), pattern, {.col_segments = {3, 4}}), InvalidArgument);
  EXPECT_THROW(select_mask({nullptr, Dtype::f32, 2, 2, 0}, pattern), InvalidArgument);
  EXPECT_THROW(select_mask({nullptr, Dtype::f32, -1, 2, 0}, pattern), InvalidArgument);
}

TEST(SelectMask, EmptyWeights) {
  for (auto [rows, cols] : {std::pair{0, 0}, {0, 9}, {9, 0}}) {
    for (const char* text : {"dense", "2:4", "vw4/2:8", "bw4x4/1:2", "64:2:8"}) {
      const MaskResult result = select_mask(Scores(rows, cols).view(), Pattern::parse(text));
      EXPECT_EQ(result.mask, Mask(rows, cols));
      EXPECT_EQ(result.total_score, 0);
    }
  }
}

TEST(SelectMask, DenseKeepsEverything) {
  std::mt19937 random(11);
  const Scores scores = normal_scores(5, 131, random);
  const MaskResult result = select_mask(scores.view(), Pattern{});
  EXPECT_EQ(result.mask.count(), 5 * 131);
  EXPECT_EQ(result.kept_score, result.total_score);
}

TEST(SelectMask, EveryDtypeAndStride) {
  std::mt19937 random(12);
  for (Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f8_e4m3, Dtype::i8}) {
    const Scores scores = integer_scores(37, 50, 7, random);
    const std::int64_t stride = 61, element = dtype_bytes(dtype);
    // One byte off, as a tensor inside a file can be; gaps between rows hold NaN or -1.
    std::vector<std::byte> bytes(static_cast<std::size_t>(37 * stride * element + 1),
                                 std::byte{0xff});
    for (std::int64_t r = 0; r < 37; ++r)
      from_float(dtype, std::span(scores.data).subspan(static_cast<std::size_t>(r * 50), 50),
                 bytes.data() + 1 + r * stride * element);
    for (const char* text : {"2:4", "vw8/2:8", "bw4x3/1:2", "16:2:8"}) {
      const MaskResult expected = select_mask(scores.view(), Pattern::parse(text));
      const MaskResult result =
          select_mask({bytes.data() + 1, dtype, 37, 50, stride}, Pattern::parse(text));
      EXPECT_EQ(result.mask, expected.mask) << text << " " << dtype_name(dtype);
      EXPECT_EQ(result.kept_score, expected.kept_score);
      EXPECT_EQ(result.total_score, expected.total_score);
    }
  }
}

// Everything, sums included, is the same on any number of threads and any instruction set.
TEST(SelectMask, DoesNotDependOnTheMachine) {
  std::mt19937 random(13);
  const Scores scores = normal_scores(150, 900, random);
  for (const char* text : {"2:4", "5:7", "12:32", "vw8/2:8", "bw3x5/2:7", "64:2:8", "33:2:20"}) {
    const Pattern pattern = Pattern::parse(text);
    const MaskResult expected = select_mask(scores.view(), pattern);
    auto expect_same = [&](const MaskResult& result) {
      EXPECT_EQ(result.mask, expected.mask) << text;
      EXPECT_EQ(result.kept_score, expected.kept_score) << text;
      EXPECT_EQ(result.total_score, expected.total_score) << text;
    };
    for (int threads : {0, 2, 5})
      expect_same(select_mask(scores.view(), pattern, {.threads = threads}));
    const std::int64_t all = hwy::SupportedTargets();
    for (std::int64_t left = all; left != 0; left &= left - 1) {
      hwy::GetChosenTarget().Update(left & -left);
      expect_same(select_mask(scores.view(), pattern));
    }
    hwy::GetChosenTarget().Update(all);
  }
}

}  // namespace
}  // namespace coppice
