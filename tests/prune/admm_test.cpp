// ADMM and the refinement of its support.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "coppice/error.h"
#include "prune/second_order_problem.h"

namespace coppice {
namespace {

using testing::expect_optimal_on_support;
using testing::expect_sound;
using ::testing::HasSubstr;
using testing::Problem;
using testing::prune;
using testing::prune_by_admm;
using testing::Pruned;

TEST(Admm, IsBetterThanObs) {
  const Problem problem(64, 256, 1);
  for (const char* text :
       {"2:4", "4:8", "8:16", "vw16/2:4", "vw16/8:32", "bw4x4/2:4", "16:2:8", "64:2:16"}) {
    const Pruned obs = prune(problem, text);
    const Pruned admm = prune_by_admm(problem, text);
    EXPECT_LT(admm.result.error, obs.result.error) << text;
    EXPECT_EQ(admm.result.note, "") << text;
    EXPECT_GT(admm.result.iterations, 3) << text;
    RecordProperty(std::string(text) + " rows", static_cast<int>(admm.result.admm_rows));
  }
}

TEST(Admm, RefinesToTheOptimumOfItsSupport) {
  const Problem problem(12, 40, 2);
  expect_optimal_on_support(problem, prune_by_admm(problem, "2:4", {.refinements = 60}));
}

TEST(Admm, EveryPatternShapeAndThreadCount) {
  std::mt19937 random(3);
  for (const char* text : {"2:4", "3:32", "vw4/2:4", "bw4x4/2:4", "16:2:8", "4:3/6:8", "dense"})
    for (const auto& [rows, cols] : {std::pair{70, 93}, std::pair{1, 1}, std::pair{37, 7}}) {
      const Problem problem(rows, cols, static_cast<unsigned>(random()));
      AdmmOptions options{.row_segments = testing::random_segments(rows, random),
                          .col_segments = testing::random_segments(cols, random)};
      const Grid grid(Pattern::parse(text),
                      {rows, cols, options.row_segments, options.col_segments});
      const Pruned one = prune_by_admm(problem, text, options);
      expect_sound(problem, one, grid, text);
      options.threads = 3;
      const Pruned three = prune_by_admm(problem, text, options);
      EXPECT_EQ(one.result.mask, three.result.mask) << text;
      EXPECT_EQ(std::memcmp(one.weights.data(), three.weights.data(), one.weights.size() * 4), 0)
          << text;
    }
}

TEST(Admm, HardStatisticsStaySound) {
  Problem problem(16, 48, 4, 3);
  for (std::int64_t i = 0; i < 48; ++i) problem.gram(7, i) = problem.gram(i, 7) = 0;
  const Grid grid(Pattern::parse("2:4"), {16, 48, {}, {}});
  const Pruned few = prune_by_admm(problem, "2:4");
  expect_sound(problem, few, grid, "rank 3");
  EXPECT_THAT(few.result.note, HasSubstr("1 inputs always zero"));
  for (std::int64_t i = 0; i < 48; ++i)
    for (std::int64_t j = 0; j < 48; ++j)
      problem.gram(i, j) *= (i == 5 ? 1e9 : 1) * (j == 5 ? 1e9 : 1);
  expect_sound(problem, prune_by_admm(problem, "2:4", {.damping = 0}), grid, "outlier");
  std::ranges::fill(problem.gram.data, 0.0);
  EXPECT_THAT(prune_by_admm(problem, "2:4").result.note, HasSubstr("pruned by magnitude"));
}

TEST(Admm, RefusesWhatItCannotUse) {
  const Problem problem(4, 16, 5);
  for (const AdmmOptions& options : {AdmmOptions{.penalty = 0}, AdmmOptions{.iterations = 0},
                                     AdmmOptions{.refinements = -1}, AdmmOptions{.damping = -1}})
    EXPECT_THROW(prune_by_admm(problem, "2:4", options), InvalidArgument);
}

}  // namespace
}  // namespace coppice
