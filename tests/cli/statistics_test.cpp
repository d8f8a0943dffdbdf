// coppice statistics, and coppice prune with statistics or scores from a file.
#include "coppice/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "coppice/checkpoint.h"
#include "coppice/output_error.h"
#include "coppice/prune.h"
#include "coppice/score.h"
#include "fixtures.h"
#include "statistics_fixture.h"
#include "subprocess.h"

namespace coppice::cli::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kQuery = "model.layers.0.self_attn.q_proj.weight";

TEST_F(PruneWithStatistics, MasksAndErrorsAreThoseOfTheLibrary) {
  const std::string stats = write_statistics(model, dir / "stats");
  const std::string held = write_statistics(model, dir / "held", {StatisticsSet::held_out, 2});
  for (const ScoreKind kind : {ScoreKind::magnitude, ScoreKind::wanda, ScoreKind::ria}) {
    const std::string method = kind == ScoreKind::magnitude ? "magnitude"
                               : kind == ScoreKind::wanda   ? "wanda"
                                                            : "ria";
    const Result result =
        prune({"--method", method, "--stats", stats, "--held-out", held, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Checkpoint before = Checkpoint::open(model), after = Checkpoint::open(out());
    const StatisticsFile file = StatisticsFile::open(stats), other = StatisticsFile::open(held);
    const auto layers = result.json()["layers"];
    std::size_t layer = 0;
    for (const LinearWeight& weight : before.linear_weights()) {
      const std::vector<float> w = values(before.read(weight)), v = values(after.read(weight));
      const auto view = dense_view(w, weight.shape.rows, weight.shape.cols);
      std::vector<float> scores(w.size()), want = w;
      const InputStatistics known = file.read(*file.input_of(weight.name));
      score_weights(view, kind, known.square_sums, scores);
      const MaskResult mask = select_mask(dense_view(scores, weight.shape.rows, weight.shape.cols),
                                          Pattern::parse("2:4"));
      for (std::size_t i = 0; i < want.size(); ++i)
        if (!mask.mask.get(static_cast<std::int64_t>(i) / weight.shape.cols,
                           static_cast<std::int64_t>(i) % weight.shape.cols))
          want[i] = 0;
      EXPECT_EQ(v, want) << method << " " << weight.name;
      const auto& row = layers[layer++];
      const auto pruned = dense_view(v, weight.shape.rows, weight.shape.cols);
      EXPECT_EQ(row["scored_by"], method);
      EXPECT_EQ(row["error"], output_error(view, pruned, known.gram));
      EXPECT_EQ(row["held_out_error"],
                output_error(view, pruned, other.read(*other.input_of(weight.name)).gram));
      if (kind != ScoreKind::magnitude) {
        EXPECT_NEAR(row["kept_score"].get<double>(), mask.kept_score / mask.total_score, 1e-12);
      }
    }
    std::filesystem::remove_all(out());
  }
}

TEST_F(PruneWithStatistics, TableAndPackedForm) {
  const std::string stats = write_statistics(model, dir / "stats");
  const Result result = prune({"--method", "wanda", "--stats", stats});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const char* title : {"scored by", "kept score", "error", "kept magnitude"})
    EXPECT_THAT(result.out, HasSubstr(title));
  EXPECT_THAT(result.out, Not(HasSubstr("held-out error")));
  const std::string packed = (dir / "packed").string(), at_once = (dir / "at_once").string();
  ASSERT_EQ(coppice({"pack", out(), "--pattern", "2:4", "-o", packed}).exit_code, 0);
  ASSERT_EQ(coppice({"prune", model, "--pattern", "2:4", "--no-time", "--pack", "--method", "wanda",
                     "--stats", stats, "-o", at_once})
                .exit_code,
            0);
  EXPECT_EQ(snapshot(packed), snapshot(at_once));
}

TEST_F(PruneWithStatistics, SquareSumsAloneGiveScoresAndNoErrors) {
  const std::string stats =
      write_statistics(model, dir / "stats", {StatisticsSet::calibration, 1, false});
  const Result result = prune({"--method", "ria", "--stats", stats, "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(result.json()["layers"][0]["error"].is_null());
  EXPECT_GT(result.json()["layers"][0]["kept_score"], 0.5);
}

TEST_F(PruneWithStatistics, WeightsWithoutStatistics) {
  const std::string stats =
      write_statistics(model, dir / "stats", {StatisticsSet::calibration, 1, true, kQuery});
  expect_failure({"--method", "wanda", "--stats", stats}, 1, kQuery);
  const Result result =
      prune({"--method", "wanda", "--stats", stats, "--missing-stats", "magnitude", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto report = result.json();
  for (const auto& layer : report["layers"]) {
    const bool missing = layer["name"] == kQuery;
    EXPECT_EQ(layer["scored_by"], missing ? "magnitude" : "wanda");
    EXPECT_EQ(layer["error"].is_null(), missing);
  }
}

TEST_F(PruneWithStatistics, ScoresFromAFile) {
  // The weights of another model of the same shape serve as scores.
  const std::string other = make_tiny(dir / "other", [](auto& spec) { spec.seed = 99; });
  const Result result =
      prune({"--method", "scores", "--scores", other + "/model.safetensors", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Checkpoint scores = Checkpoint::open(other), after = Checkpoint::open(out());
  for (const LinearWeight& weight : after.linear_weights()) {
    const WeightData data = scores.read(weight);
    const Mask mask = magnitude_mask(data.view(), Pattern::parse("2:4")).mask;
    const std::vector<float> v = values(after.read(weight));
    for (std::size_t i = 0; i < v.size(); ++i)
      ASSERT_EQ(v[i] != 0, mask.get(static_cast<std::int64_t>(i) / weight.shape.cols,
                                    static_cast<std::int64_t>(i) % weight.shape.cols));
  }
}

TEST_F(PruneWithStatistics, BadScores) {
  const std::string other = make_tiny(dir / "other", [](auto& spec) { spec.intermediate = 96; });
  const std::string file = other + "/model.safetensors";
  expect_failure({"--method", "scores", "--scores", file}, 1,
                 "are [96, 64], the weight is [160, 64]");
  const std::string same = make_tiny(dir / "same");
  poke_f32(same + "/model.safetensors", kQuery, 5, std::nanf(""));
  expect_failure({"--method", "scores", "--scores", same + "/model.safetensors"}, 1, kQuery);
  expect_failure({"--method", "scores", "--scores", model + "/config.json"}, 1, "config.json");
}

TEST_F(PruneWithStatistics, WrongUse) {
  const std::string stats = write_statistics(model, dir / "stats");
  const std::string held = write_statistics(model, dir / "held", {StatisticsSet::held_out});
  expect_failure({"--method", "wanda"}, 2, "needs --stats");
  expect_failure({"--method", "scores"}, 2, "needs --scores");
  expect_failure({"--method", "ria", "--stats", stats, "--scores", stats}, 2, "--scores");
  expect_failure({"--method", "ria", "--stats", held}, 1, "held_out samples");
  expect_failure({"--held-out", stats}, 1, "calibration samples");
  expect_failure({"--stats", model + "/model.safetensors"}, 1, "no statistics file");
  expect_failure({"--stats", (dir / "absent").string()}, 1, "absent");
  const std::string wide = make_tiny(dir / "wide", [](auto& spec) { spec.intermediate = 96; });
  expect_failure({"--stats", write_statistics(wide, dir / "96")}, 1, "another model");
}

TEST(Statistics, ShowAndMerge) {
  TempDir dir;
  const std::string model = make_tiny(dir / "model");
  const std::string a = write_statistics(model, dir / "a", {.seed = 3});
  const std::string b = write_statistics(model, dir / "b", {.seed = 4});
  const std::string all = (dir / "all").string();
  const Result merged = coppice({"statistics", "merge", a, b, "-o", all});
  ASSERT_EQ(merged.exit_code, 0) << merged.err;
  EXPECT_THAT(merged.out, HasSubstr("8 inputs of 2 files"));
  const Result text = coppice({"statistics", "show", all, "--check"});
  EXPECT_THAT(text.out, HasSubstr("calibration statistics of 8 inputs and 14 weights"));
  EXPECT_THAT(text.out, HasSubstr("Every number was read"));
  const auto json = coppice({"statistics", "show", all, "--json"}).json();
  EXPECT_EQ(json["inputs"].size(), 8u);
  for (const auto& input : json["inputs"]) EXPECT_EQ(input["samples"], 160);
  const Result again = coppice({"statistics", "merge", a, b, "-o", all});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_THAT(again.err, HasSubstr("exists"));
  EXPECT_EQ(coppice({"statistics"}).exit_code, 2);
  EXPECT_EQ(coppice({"statistics", "show", model + "/config.json"}).exit_code, 1);
}

}  // namespace
}  // namespace coppice::cli::test
