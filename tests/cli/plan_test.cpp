// coppice plan, without a GPU: predictions for an H200.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "statistics_fixture.h"

namespace coppice::cli::test {
namespace {

using ::testing::HasSubstr;

class Plan : public PruneWithStatistics {
 protected:
  Result run(std::vector<std::string> options) const {
    std::vector<std::string> args = {"plan", model, "--gpu", "h200"};
    args.insert(args.end(), options.begin(), options.end());
    return coppice(args);
  }
  void expect_error(const std::vector<std::string>& options, int code, const char* text) const {
    const Result result = run(options);
    EXPECT_EQ(result.exit_code, code) << text;
    EXPECT_THAT(result.err, HasSubstr(text));
    EXPECT_EQ(result.err_lines(), 1);
  }
};

TEST_F(Plan, GroupsLayersAndWritesSpeedsThatPruneReads) {
  const std::string csv = (dir / "speeds.csv").string();
  const Result result =
      run({"--tokens", "4096", "--pattern", "2:4,64:2:8,2:8", "--csv", csv, "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = result.json();
  std::size_t layers = 0;
  double dense = 0, chosen = 0;
  for (const auto& group : json["groups"]) {
    const auto count = static_cast<double>(group["layers"].size());
    layers += group["layers"].size();
    ASSERT_EQ(group["candidates"].size(), 3u);
    const double own = group["dense"]["predicted_seconds"];
    double best = own;
    for (const auto& candidate : group["candidates"]) {
      EXPECT_GT(candidate["predicted_seconds"], 0);
      EXPECT_TRUE(candidate["measured_seconds"].is_null());
      EXPECT_FALSE(candidate["bound_by"].get<std::string>().empty());
      best = std::min<double>(best, candidate["predicted_seconds"]);
    }
    dense += count * own;
    chosen += count * best;  // dense where dense wins
  }
  EXPECT_EQ(layers, 14u);
  EXPECT_NEAR(json["dense_seconds"].get<double>() / dense, 1, 1e-9);
  EXPECT_NEAR(json["seconds"].get<double>() / chosen, 1, 1e-9);
  // So small layers are faster dense: the file is read, and nothing is left to prune.
  const Result pruned =
      coppice({"prune", model, "--speedup", "1", "--speeds", csv, "--no-time", "-o", out()});
  EXPECT_THAT(pruned.err, HasSubstr("no linear weight is left to prune"));
}

TEST_F(Plan, SaysForWhichGpuAndWhatIsLeftOut) {
  const Result result = run({"--tokens", "1", "--pattern", "2:4,vw32/8:32", "--dtype", "f32"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("NVIDIA H200. Constants: built in"));
  EXPECT_THAT(result.out, HasSubstr("all layers, as chosen"));
  EXPECT_THAT(result.err, HasSubstr("left out: 2:4 in F32"));
}

TEST_F(Plan, BadInputGetsOneLine) {
  expect_error({"--tokens", "0"}, 2, "--tokens");
  expect_error({"--pattern", "9:4"}, 2, "9:4");
  expect_error({"--pattern", "dense"}, 2, "dense");
  expect_error({"--speedup", "0.5"}, 2, "--speedup");
  const Result unknown = coppice({"plan", model, "--gpu", "abacus"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("NVIDIA H200"));
  expect_error({"--constants", "/nowhere/model.json"}, 1, "no such file");
  write_file(dir / "bad.json", "{\"format\": 7}");
  expect_error({"--constants", (dir / "bad.json").string()}, 1, "format 7");
  const Result absent = coppice({"plan", (dir / "absent").string()});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_EQ(absent.err_lines(), 1);
}

}  // namespace
}  // namespace coppice::cli::test
