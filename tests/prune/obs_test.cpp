// Second-order pruning as its user sees it: every pattern, hard statistics, published baselines.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "coppice/error.h"
#include "coppice/score.h"
#include "prune/second_order/engine.h"
#include "prune/second_order_problem.h"

namespace coppice {
namespace {

using testing::error_of;
using testing::expect_optimal_on_support;
using testing::expect_sound;
using ::testing::HasSubstr;
using testing::Matrix;
using testing::Problem;
using testing::prune;
using testing::Pruned;

TEST(Obs, BySaliencyItIsSparseGpt) {
  const Problem problem(48, 320, 3);
  for (const auto& [kept, group] : {std::pair{2, 4}, std::pair{4, 8}}) {
    const std::string name = std::to_string(kept) + ":" + std::to_string(group);
    const auto reference =
        testing::sparse_gpt(problem.weights, problem.rows, problem.gram, kept, group);
    const double expected = error_of(problem, reference);
    const Pruned saliency =
        prune(problem, name, {.choice = GroupChoice::saliency, .refinements = 0});
    EXPECT_NEAR(saliency.result.error, expected, 1e-3 * expected) << name;
    const Pruned joint = prune(problem, name, {.choice = GroupChoice::joint, .refinements = 0});
    EXPECT_LE(joint.result.error, 1.01 * expected) << name;
    RecordProperty(name + " published", std::to_string(expected));
    RecordProperty(name + " joint", std::to_string(joint.result.error));
  }
}

TEST(Obs, RefinementKeepsTheMaskAndLowersTheError) {
  const Problem problem(48, 320, 3);
  for (const char* text : {"2:4", "vw16/2:4", "bw4x4/2:4", "16:2:8"}) {
    const Pruned swept = prune(problem, text, {.refinements = 0});
    const Pruned refined = prune(problem, text);
    EXPECT_EQ(swept.result.mask, refined.result.mask) << text;
    EXPECT_LT(refined.result.error, 0.9 * swept.result.error) << text;
    expect_optimal_on_support(problem, prune(problem, text, {.refinements = 200}));
  }
}

TEST(Obs, EveryPatternShapeAndThreadCount) {
  std::mt19937 random(4);
  const char* patterns[] = {"2:4",       "1:4",       "4:8",       "3:32",        "vw4/2:4",
                            "vw32/8:32", "bw2x2/1:3", "bw4x4/2:4", "bw16x80/1:2", "16:2:8",
                            "8:2:5",     "4:3/6:8",   "64:2:16",   "dense"};
  for (const char* text : patterns)
    for (const auto& [rows, cols] : {std::pair{70, 173}, std::pair{1, 1}, std::pair{37, 7}}) {
      const Problem problem(rows, cols, static_cast<unsigned>(random()));
      ObsOptions options{.row_segments = testing::random_segments(rows, random),
                         .col_segments = testing::random_segments(cols, random),
                         .block = 40};
      const Grid grid(Pattern::parse(text),
                      {rows, cols, options.row_segments, options.col_segments});
      const std::string what = std::string(text) + " " + std::to_string(cols);
      const Pruned one = prune(problem, text, options);
      expect_sound(problem, one, grid, what);
      options.threads = 3;
      const Pruned three = prune(problem, text, options);
      EXPECT_EQ(one.result.mask, three.result.mask) << what;
      EXPECT_EQ(std::memcmp(one.weights.data(), three.weights.data(), one.weights.size() * 4), 0)
          << what;
      EXPECT_EQ(one.result.error, three.result.error) << what;
    }
}

TEST(Obs, BeatsMagnitudeOnCorrelatedInputs) {
  const Problem problem(64, 256, 5);
  for (const char* text : {"2:4", "4:8", "vw16/2:4", "bw4x4/2:4", "16:2:8", "64:2:16"})
    for (GroupChoice choice : {GroupChoice::saliency, GroupChoice::automatic}) {
      const UpdateResult result = prune(problem, text, {.choice = choice}).result;
      EXPECT_LT(result.error, 0.8 * result.magnitude_error) << text;
      EXPECT_LT(result.error, 0.9 * result.uncompensated_error) << text;
      EXPECT_EQ(result.note, "") << text;
    }
}

TEST(Obs, BlocksOfAnySizeGiveTheSame) {
  const Problem problem(16, 400, 6);
  for (const char* text : {"2:4", "bw4x48/1:3", "8:2:8", "vw4/100:200"}) {
    const Pruned small = prune(problem, text, {.block = 32, .choice = GroupChoice::saliency});
    const Pruned large = prune(problem, text, {.block = 1 << 20, .choice = GroupChoice::saliency});
    EXPECT_NEAR(small.result.error, large.result.error, 1e-3 * large.result.error) << text;
  }
}

TEST(Obs, DeadInputsArePrunedFirst) {
  Problem problem(8, 64, 7);
  for (std::int64_t dead = 1; dead < 64; dead += 4)
    for (std::int64_t i = 0; i < 64; ++i) problem.gram(dead, i) = problem.gram(i, dead) = 0;
  for (std::int64_t i = 0; i < 8; ++i) problem.weights[static_cast<std::size_t>(64 * i + 1)] = 50;
  for (GroupChoice choice : {GroupChoice::saliency, GroupChoice::joint}) {
    const Pruned pruned = prune(problem, "3:4", {.choice = choice});
    expect_sound(problem, pruned, Grid(Pattern::parse("3:4"), {8, 64, {}, {}}), "dead");
    EXPECT_EQ(pruned.result.dead_columns, 16);
    EXPECT_THAT(pruned.result.note, HasSubstr("16 inputs always zero"));
    EXPECT_NEAR(pruned.result.error, 0, 1e-6);  // nothing else had to go
  }
}

TEST(Obs, HardStatisticsStaySound) {
  std::vector<std::pair<std::string, Problem>> cases;
  cases.emplace_back("rank 3", Problem(16, 48, 8, 3));
  cases.emplace_back("rank 1", Problem(16, 48, 9, 1));
  cases.emplace_back("outliers", Problem(16, 48, 10));
  for (std::int64_t i = 0; i < 48; ++i)
    for (std::int64_t j = 0; j < 48; ++j)
      cases.back().second.gram(i, j) *= (i == 5 ? 1e9 : 1) * (j == 5 ? 1e9 : 1);
  cases.emplace_back("huge weights", Problem(16, 48, 11));
  for (float& weight : cases.back().second.weights) weight *= 1e18f;
  cases.emplace_back("tiny statistics", Problem(16, 48, 12));
  for (double& value : cases.back().second.gram.data) value *= 1e-200;
  for (const auto& [name, problem] : cases)
    for (const char* text : {"2:4", "8:2:8", "vw8/2:4", "bw4x4/1:2", "8:32"})
      for (double damping : {0.01, 0.0})
        expect_sound(problem, prune(problem, text, {.damping = damping}),
                     Grid(Pattern::parse(text), {16, 48, {}, {}}), name + " " + text);
}

TEST(Obs, RaisesDampingThenFallsBackToMagnitude) {
  Problem problem(8, 32, 13);
  const Mask magnitude =
      magnitude_mask(dense_view(problem.weights, 8, 32), Pattern::parse("2:4")).mask;
  for (std::int64_t i = 0; i < 32; ++i)  // not positive: off the diagonal more than on it
    for (std::int64_t j = 0; j < 32; ++j) problem.gram(i, j) = i == j ? 1 : 1.5;
  UpdateResult result = prune(problem, "2:4").result;
  EXPECT_GT(result.damping, 0.01);
  EXPECT_THAT(result.note, HasSubstr("damping raised to"));

  std::ranges::fill(problem.gram.data, 0.0);
  const Pruned unseen = prune(problem, "2:4");
  EXPECT_EQ(unseen.result.mask, magnitude);
  EXPECT_EQ(unseen.result.magnitude_rows, 8);
  EXPECT_EQ(unseen.result.error, 0);
  EXPECT_THAT(unseen.result.note, HasSubstr("pruned by magnitude"));
}

TEST(Obs, RefusesWhatItCannotUse) {
  const Problem good(4, 16, 14);
  const auto refuses = [](Problem problem, const std::string& pattern, const ObsOptions& options,
                          const char* message) {
    try {
      prune(problem, pattern, options);
      ADD_FAILURE() << "not refused: " << message;
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  };
  Problem bad = good;
  bad.gram(2, 3) = std::numeric_limits<double>::quiet_NaN();
  refuses(bad, "2:4", {}, "nan at [2, 3]");
  bad = good;
  bad.gram(3, 3) = -1;
  refuses(bad, "2:4", {}, "-1 at [3, 3]");
  bad = good;
  bad.weights[5] = std::numeric_limits<float>::infinity();
  refuses(bad, "2:4", {}, "a weight is inf");
  bad = good;
  bad.weights.pop_back();
  refuses(bad, "2:4", {}, "there are 63 weights");
  bad = good;
  bad.cols = 8, bad.rows = 8;
  refuses(bad, "2:4", {}, "a Gram matrix of 256 numbers");
  refuses(good, "2:4", {.damping = -1}, "damping is -1");
  refuses(good, "2:4", {.block = 0}, "the block is 0");
  refuses(good, "8:16", {.choice = GroupChoice::joint}, "too many sets");
}

TEST(ObsScore, IsWhatPruningOneWeightCosts) {
  const Problem problem(5, 37, 91);
  double mean = 0;
  for (std::int64_t i = 0; i < 37; ++i) mean += problem.gram(i, i) / 37;
  testing::Matrix h = problem.gram;
  for (double& value : h.data) value /= mean;
  for (std::int64_t i = 0; i < 37; ++i) h(i, i) += 0.02;
  const testing::Matrix inverse = testing::inverse(h);
  std::vector<float> scores(problem.weights.size()), threaded = scores;
  const DenseView view = dense_view(problem.weights, 5, 37);
  score_weights_obs(view, problem.gram.data, 0.02, scores);
  for (std::int64_t i = 0; i < 5 * 37; ++i) {
    const double w = problem.weights[static_cast<std::size_t>(i)];
    const double want = w * w / inverse(i % 37, i % 37);
    EXPECT_NEAR(scores[static_cast<std::size_t>(i)], want, 1e-4 * want);
  }
  score_weights_obs(view, problem.gram.data, 0.02, threaded, 3);
  EXPECT_EQ(scores, threaded);
}

TEST(ObsScore, WithoutFactorisationInputsCountAlone) {
  const std::vector<float> weights = {1, -2, 3};
  const std::vector<double> gram = {4, 0, 0, 0, 0, 0, 0, 0, 1}, zero(9);
  std::vector<float> scores(3);
  score_weights_obs(dense_view(weights, 1, 3), gram, 0.01, scores);
  EXPECT_LT(scores[1], 1e-6f * scores[0]);  // an input that was always zero
  score_weights_obs(dense_view(weights, 1, 3), zero, 0.01, scores);
  EXPECT_EQ(scores, std::vector<float>(3));
  EXPECT_THROW(score_weights_obs(dense_view(weights, 1, 3), std::span(gram).first(8), 0.01, scores),
               InvalidArgument);
  EXPECT_THROW(score_weights_obs(dense_view(weights, 1, 3), gram, -1, scores), InvalidArgument);
}

// An engine that does all on the CPU, and counts the layers.
class CountingEngine final : public UpdateEngine {
 public:
  std::unique_ptr<prune::LayerEngine> open(const prune::UpdateProblem& problem) const override {
    ++layers;
    return prune::open_cpu_engine(problem);
  }
  mutable int layers = 0;
};

TEST(Obs, RunsOnTheEngineThatIsGiven) {
  const Problem problem(16, 64, 15);
  const CountingEngine engine;
  const Pruned obs = prune(problem, "2:4", {.engine = &engine});
  EXPECT_EQ(engine.layers, 1);
  EXPECT_EQ(obs.weights, prune(problem, "2:4").weights);
  EXPECT_EQ(testing::prune_by_admm(problem, "2:4", {.engine = &engine}).weights,
            testing::prune_by_admm(problem, "2:4").weights);
  EXPECT_EQ(engine.layers, 2);
  const DenseView before = dense_view(problem.weights, 16, 64);
  const DenseView after = dense_view(obs.weights, 16, 64);
  EXPECT_NEAR(output_error(before, after, problem.gram.data, 1, &engine), obs.result.error, 1e-12);
  EXPECT_EQ(engine.layers, 3);
  EXPECT_THROW(output_error(before, dense_view(obs.weights, 64, 16), problem.gram.data, 1, &engine),
               InvalidArgument);
  EXPECT_EQ(
      output_error(dense_view({}, 0, 64), dense_view({}, 0, 64), problem.gram.data, 1, &engine), 0);
}

TEST(Obs, EmptyWeights) {
  std::vector<float> none;
  const Matrix gram(0, 0);
  EXPECT_EQ(obs_prune(none, 0, 0, Pattern::parse("2:4"), gram.data).mask.count(), 0);
  std::mt19937 random(1);
  const Matrix some = testing::correlated_gram(8, 9, random);
  EXPECT_EQ(obs_prune(none, 0, 8, Pattern::parse("2:4"), some.data).mask.count(), 0);
}

}  // namespace
}  // namespace coppice
