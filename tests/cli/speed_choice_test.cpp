// coppice prune --speedup: patterns from measured speeds.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "statistics_fixture.h"

namespace coppice::cli::test {
namespace {

using ::testing::HasSubstr;

class SpeedChoice : public PruneWithStatistics {
 protected:
  // Speeds of every shape of the model; those of layers of `slow` rows are below 1.
  std::string speeds(std::int64_t slow = 0, const std::string& more = "") const {
    const Checkpoint checkpoint = Checkpoint::open(model);
    std::set<std::pair<std::int64_t, std::int64_t>> shapes;
    for (const LinearWeight& weight : checkpoint.linear_weights())
      shapes.insert({weight.shape.rows, weight.shape.cols});
    std::string csv = "pattern,tokens,cols,rows,baseline_us,baseline,speedup\n";
    for (const auto& [rows, cols] : shapes)
      for (const auto& [pattern, factor] : kFactors)
        csv += fmt::format("{},64,{},{},{},\"a, b\",{}\n", pattern, cols, rows,
                           0.01 * static_cast<double>(rows * cols), rows == slow ? 0.9 : factor);
    write_file(dir / "speeds.csv", csv + more);
    return (dir / "speeds.csv").string();
  }
  Result run(std::vector<std::string> options) const {
    std::vector<std::string> args = {"prune", model, "--no-time", "-o", out()};
    args.insert(args.end(), options.begin(), options.end());
    return coppice(args);
  }
  void expect_error(const std::vector<std::string>& options, int code, const char* text) const {
    const Result result = run(options);
    EXPECT_EQ(result.exit_code, code) << text;
    EXPECT_THAT(result.err, HasSubstr(text));
    EXPECT_EQ(result.err_lines(), 1);
    EXPECT_FALSE(std::filesystem::exists(out()));
  }

  // 16:2:16 is as fast as 32:2:16, and more diverse; 1:2 is slower than 2:4 and less diverse.
  inline static const std::map<std::string, double> kFactors = {
      {"2:4", 1.5}, {"16:2:8", 2.5}, {"16:2:16", 4}, {"32:2:16", 4}, {"1:2", 1.4}};
};

TEST_F(SpeedChoice, ReachesTheSpeedupAndNoMore) {
  const std::string file = speeds();
  double last = 0;
  for (double wanted : {1.2, 2.0, 3.0, 4.0}) {
    const Result result = run({"--speedup", fmt::format("{}", wanted), "--speeds", file, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto choice = result.json()["choice"];
    double dense = 0, time = 0, lost = 0;
    std::size_t pruned = 0;
    for (const auto& layer : choice["layers"]) {
      const Checkpoint checkpoint = Checkpoint::open(model);
      const auto* tensor = checkpoint.find(layer["name"].get<std::string>());
      const auto size = static_cast<double>(tensor->shape[0] * tensor->shape[1]);
      const std::string pattern = layer["pattern"];
      EXPECT_TRUE(pattern != "32:2:16" && pattern != "1:2") << pattern;
      dense += size;
      time += size / (pattern == "dense" ? 1 : kFactors.at(pattern));
      lost += layer["lost"].get<double>();
      pruned += pattern == "dense" ? 0 : 1;
    }
    EXPECT_GE(dense / time, wanted * (1 - 1e-9));
    EXPECT_NEAR(choice["speedup"], dense / time, 1e-9);
    EXPECT_EQ(result.json()["layers"].size(), pruned);
    EXPECT_GT(lost, last);  // more speed costs more
    last = lost;
    std::filesystem::remove_all(out());
  }
}

TEST_F(SpeedChoice, LayersWhereDenseWinsStayAsTheyWere) {
  const Result result = run({"--speedup", "1.5", "--speeds", speeds(160), "--pack", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Checkpoint before = Checkpoint::open(model), after = Checkpoint::open(out());
  std::size_t slow = 0;
  for (const LinearWeight& weight : before.linear_weights()) {
    if (weight.shape.rows != 160) continue;
    ++slow;
    EXPECT_EQ(after.find_packed(weight.name), nullptr);
    EXPECT_EQ(values(before.read(weight)), values(after.read(weight)));
  }
  EXPECT_GT(slow, 0u);
  const nlohmann::json layers = result.json()["choice"]["layers"];
  for (const auto& layer : layers) {
    const auto shape = before.find(layer["name"].get<std::string>())->shape;
    const std::string because = layer["because"];
    EXPECT_EQ(because.starts_with("dense wins"), shape[0] == 160) << because;
  }
}

TEST_F(SpeedChoice, TellsWhatWasChosenAndWhy) {
  const std::string stats = write_statistics(model, dir / "stats");
  const Result result = run({"--speedup", "2", "--speeds", speeds(), "--stats", stats});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("because"));
  EXPECT_THAT(result.out, HasSubstr("(wanted: 2.00x)"));
  EXPECT_THAT(result.out, HasSubstr("kept magnitude"));
}

TEST_F(SpeedChoice, WhatCannotBe) {
  const std::string file = speeds();
  expect_error({"--speedup", "5", "--speeds", file}, 1, "it is 4.00");
  expect_error({"--speedup", "2"}, 2, "--speeds");
  expect_error({"--speeds", file, "--pattern", "2:4"}, 2, "--speedup");
  expect_error({"--speedup", "2", "--speeds", file, "--pattern", "2:4"}, 2, "--pattern");
  expect_error({}, 2, "--pattern P is required");
  expect_error({"--speedup", "2", "--speeds", (dir / "none.csv").string()}, 1, "cannot be read");
  expect_error({"--speedup", "2", "--speeds", file, "--speed-tokens", "65"}, 1,
               "with 65 tokens; measure it");
  const std::string several = speeds(0, "2:4,65,64,64,1,x,2\n");
  expect_error({"--speedup", "2", "--speeds", several}, 2, "speeds for 64, 65 tokens");
}

}  // namespace
}  // namespace coppice::cli::test
