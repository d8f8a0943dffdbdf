// Masks from scores, against the published formulas written down again in double precision.
#include "coppice/score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "coppice/error.h"
#include "coppice/prune.h"

namespace coppice {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Problem {
  std::int64_t rows, cols;
  std::vector<float> weight;
  std::vector<double> square_sums;

  DenseView view() const { return dense_view(weight, rows, cols); }
  double magnitude(std::int64_t r, std::int64_t c) const {
    return std::fabs(static_cast<double>(weight[static_cast<std::size_t>(r * cols + c)]));
  }
  double norm(std::int64_t c) const { return std::sqrt(square_sums[static_cast<std::size_t>(c)]); }
};

Problem random_problem(std::int64_t rows, std::int64_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::lognormal_distribution<double> sizes(0, 2);
  Problem problem{rows, cols, std::vector<float>(static_cast<std::size_t>(rows * cols)), {}};
  for (float& value : problem.weight) value = normal(random);
  for (std::int64_t c = 0; c < cols; ++c) problem.square_sums.push_back(sizes(random));
  return problem;
}

double wanda(const Problem& p, std::int64_t r, std::int64_t c) {
  return p.magnitude(r, c) * p.norm(c);
}

double ria(const Problem& p, std::int64_t r, std::int64_t c) {
  double in_col = 0, in_row = 0;
  for (std::int64_t k = 0; k < p.rows; ++k) in_col += p.magnitude(k, c);
  for (std::int64_t k = 0; k < p.cols; ++k) in_row += p.magnitude(r, k);
  return (p.magnitude(r, c) / in_col + p.magnitude(r, c) / in_row) * std::pow(p.norm(c), 0.5);
}

// The `kept` largest of every `group` columns, by counting what is larger.
Mask top_of_groups(const Problem& p, double (*score)(const Problem&, std::int64_t, std::int64_t),
                   std::int64_t kept, std::int64_t group) {
  Mask mask(p.rows, p.cols);
  for (std::int64_t r = 0; r < p.rows; ++r) {
    std::vector<double> scores;
    for (std::int64_t c = 0; c < p.cols; ++c) scores.push_back(score(p, r, c));
    for (std::int64_t c = 0; c < p.cols; ++c) {
      const std::int64_t first = c / group * group, end = std::min(first + group, p.cols);
      std::int64_t larger = 0;
      for (std::int64_t k = first; k < end; ++k)
        larger += scores[static_cast<std::size_t>(k)] > scores[static_cast<std::size_t>(c)];
      if (larger < kept) mask.set(r, c);
    }
  }
  return mask;
}

Mask mask_of(const Problem& p, ScoreKind kind, const char* pattern, int threads = 1) {
  std::vector<float> scores(p.weight.size(), std::numeric_limits<float>::quiet_NaN());
  score_weights(p.view(), kind, p.square_sums, scores, threads);
  return select_mask(dense_view(scores, p.rows, p.cols), Pattern::parse(pattern)).mask;
}

TEST(Score, MasksAreThoseOfThePublishedFormulas) {
  for (const auto& [rows, cols] : {std::pair{1, 4}, {3, 7}, {65, 100}, {130, 96}}) {
    const Problem p = random_problem(rows, cols, static_cast<unsigned>(rows));
    for (int threads : {1, 3}) {
      EXPECT_EQ(mask_of(p, ScoreKind::wanda, "2:4", threads), top_of_groups(p, wanda, 2, 4));
      EXPECT_EQ(mask_of(p, ScoreKind::wanda, "3:16", threads), top_of_groups(p, wanda, 3, 16));
      EXPECT_EQ(mask_of(p, ScoreKind::ria, "2:4", threads), top_of_groups(p, ria, 2, 4));
      EXPECT_EQ(mask_of(p, ScoreKind::ria, "4:8", threads), top_of_groups(p, ria, 4, 8));
    }
  }
}

TEST(Score, ValuesAreRoundedOnce) {
  const Problem p = random_problem(70, 90, 7);
  std::vector<float> scores(p.weight.size());
  score_weights(p.view(), ScoreKind::ria, p.square_sums, scores);
  for (std::int64_t r = 0; r < p.rows; ++r)
    for (std::int64_t c = 0; c < p.cols; ++c)
      ASSERT_NEAR(
          static_cast<double>(scores[static_cast<std::size_t>(r * p.cols + c)]) / ria(p, r, c), 1,
          0x1p-23);
}

TEST(Score, MethodsDiffer) {
  const Problem p = random_problem(64, 64, 8);
  const Mask magnitude = mask_of(p, ScoreKind::magnitude, "2:4");
  EXPECT_EQ(magnitude, magnitude_mask(p.view(), Pattern::parse("2:4")).mask);
  EXPECT_NE(magnitude, mask_of(p, ScoreKind::wanda, "2:4"));
  EXPECT_NE(mask_of(p, ScoreKind::ria, "2:4"), mask_of(p, ScoreKind::wanda, "2:4"));
}

TEST(Score, ZeroRowsAndColumnsAndDeadInputs) {
  Problem p = random_problem(4, 8, 9);
  for (std::int64_t c = 0; c < 8; ++c) p.weight[static_cast<std::size_t>(8 + c)] = 0;
  for (std::int64_t r = 0; r < 4; ++r) p.weight[static_cast<std::size_t>(8 * r + 3)] = 0;
  p.square_sums[5] = 0;
  std::vector<float> scores(32);
  score_weights(p.view(), ScoreKind::ria, p.square_sums, scores);
  for (std::size_t i = 0; i < 32; ++i) {
    const bool zero = i / 8 == 1 || i % 8 == 3 || i % 8 == 5;
    EXPECT_EQ(scores[i] == 0, zero) << i;
    EXPECT_TRUE(std::isfinite(scores[i]));
  }
}

TEST(Score, HalfPrecisionWeights) {
  const Problem p = random_problem(5, 40, 10);
  std::vector<std::byte> half(p.weight.size() * 2);
  from_float(Dtype::bf16, p.weight, half.data());
  Problem rounded = p;
  to_float(Dtype::bf16, half.data(), rounded.weight);
  std::vector<float> a(p.weight.size()), b(p.weight.size());
  score_weights({half.data(), Dtype::bf16, 5, 40, 0}, ScoreKind::ria, p.square_sums, a);
  score_weights(rounded.view(), ScoreKind::ria, p.square_sums, b);
  EXPECT_EQ(a, b);
}

TEST(Score, BadArguments) {
  Problem p = random_problem(3, 4, 11);
  std::vector<float> scores(12), few(11);
  EXPECT_THAT([&] { score_weights(p.view(), ScoreKind::wanda, {}, scores); },
              ThrowsMessage<InvalidArgument>(HasSubstr("of 0 inputs, the weight has 4 columns")));
  EXPECT_THROW(score_weights(p.view(), ScoreKind::magnitude, {}, few), InvalidArgument);
  std::vector<double> negative = p.square_sums;
  negative[2] = -1;
  EXPECT_THAT([&] { score_weights(p.view(), ScoreKind::ria, negative, scores); },
              ThrowsMessage<InvalidArgument>(HasSubstr("column 2 is -1")));
  p.weight[6] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT([&] { score_weights(p.view(), ScoreKind::wanda, p.square_sums, scores); },
              ThrowsMessage<InvalidArgument>(HasSubstr("row 1, column 2")));
  EXPECT_FALSE(parse_score("random"));
  EXPECT_EQ(parse_score("ria"), ScoreKind::ria);
}

}  // namespace
}  // namespace coppice
