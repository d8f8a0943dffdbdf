// coppice prune with methods that move the weights that stay.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "coppice/output_error.h"
#include "coppice/update.h"
#include "statistics_fixture.h"

namespace coppice::cli::test {
namespace {

using ::testing::HasSubstr;

constexpr const char* kQuery = "model.layers.0.self_attn.q_proj.weight";

class PruneUpdate : public PruneWithStatistics {
 protected:
  // The layers of the report, without what differs from run to run.
  static nlohmann::json layers_of(const Result& result) {
    nlohmann::json layers = result.json()["layers"];
    for (auto& layer : layers) layer.erase("seconds");
    return layers;
  }
  void remove_output() const { std::filesystem::remove_all(out()); }
};

TEST_F(PruneUpdate, WeightsAndErrorsAreThoseOfTheLibrary) {
  const std::string stats = write_statistics(model, dir / "stats");
  const std::string held = write_statistics(model, dir / "held", {StatisticsSet::held_out, 2});
  for (const char* pattern : {"2:4", "16:2:8", "vw4/4:8"}) {
    const Result result =
        coppice({"prune", model, "--pattern", pattern, "--no-time", "-o", out(), "--json",
                 "--method", "obs", "--stats", stats, "--held-out", held, "--damping", "0.02"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Checkpoint before = Checkpoint::open(model), after = Checkpoint::open(out());
    const StatisticsFile file = StatisticsFile::open(stats), other = StatisticsFile::open(held);
    const nlohmann::json layers = result.json()["layers"];
    std::size_t layer = 0;
    for (const LinearWeight& weight : before.linear_weights()) {
      const std::vector<float> original = values(before.read(weight));
      std::vector<float> want = original;
      const std::int64_t rows = weight.shape.rows, cols = weight.shape.cols;
      const InputStatistics known = file.read(*file.input_of(weight.name));
      const UpdateResult updated = obs_prune(want, rows, cols, Pattern::parse(pattern), known.gram,
                                             {.damping = 0.02, .threads = 2});
      EXPECT_EQ(values(after.read(weight)), want) << pattern << " " << weight.name;
      const nlohmann::json& row = layers[layer++];
      EXPECT_EQ(row["scored_by"], "obs");
      EXPECT_NEAR(row["error"].get<double>(), updated.error, 1e-9);
      EXPECT_EQ(row["held_out_error"],
                output_error(dense_view(original, rows, cols), dense_view(want, rows, cols),
                             other.read(*other.input_of(weight.name)).gram));
      EXPECT_GT(row["kept_magnitude"], 0.3);
      double total = 0, kept = 0;
      for (std::size_t i = 0; i < want.size(); ++i) {
        const double square = double{original[i]} * double{original[i]} *
                              known.square_sums[i % static_cast<std::size_t>(cols)];
        total += square;
        kept += want[i] != 0 ? square : 0;
      }
      EXPECT_NEAR(row["kept_score"].get<double>(), kept / total, 1e-6);
    }
    remove_output();
  }
}

TEST_F(PruneUpdate, FisherIsThatOfTheLibrary) {
  const std::string stats = write_statistics(model, dir / "stats", {.fisher = 12});
  for (const FisherSearch search : {FisherSearch::exhaustive, FisherSearch::pairwise}) {
    const Result result =
        coppice({"prune", model, "--pattern", "16:2:8", "--no-time", "-o", out(), "--json",
                 "--method", "fisher", "--stats", stats, "--damping", "0.002", "--choice",
                 search == FisherSearch::pairwise ? "pairwise" : "exhaustive"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Checkpoint before = Checkpoint::open(model), after = Checkpoint::open(out());
    const StatisticsFile file = StatisticsFile::open(stats);
    const nlohmann::json layers = result.json()["layers"];
    std::size_t layer = 0;
    for (const LinearWeight& weight : before.linear_weights()) {
      const std::vector<float> original = values(before.read(weight));
      std::vector<float> want = original;
      const std::int64_t rows = weight.shape.rows, cols = weight.shape.cols;
      fisher_prune(want, rows, cols, Pattern::parse("16:2:8"),
                   file.read(*file.fisher_of(weight.name)), {.damping = 0.002, .search = search});
      EXPECT_EQ(values(after.read(weight)), want) << weight.name;
      EXPECT_EQ(layers[layer]["scored_by"], "fisher");
      EXPECT_EQ(layers[layer++]["error"],
                output_error(dense_view(original, rows, cols), dense_view(want, rows, cols),
                             file.read(*file.input_of(weight.name)).gram));
    }
    remove_output();
  }
  const std::string without = write_statistics(model, dir / "without");
  expect_failure({"--method", "fisher", "--stats", without}, 1, "no gradients (Fisher blocks) of");
  const std::string wide = make_tiny(dir / "wide", [](auto& spec) {
    spec.hidden = 64;
    spec.intermediate = 176;
  });
  expect_failure(
      {"--method", "fisher", "--stats", write_statistics(wide, dir / "176", {.fisher = 8})}, 1,
      "another model");
}

TEST_F(PruneUpdate, OrderOfTheMethods) {
  const std::string stats = write_statistics(model, dir / "stats");
  std::vector<std::vector<double>> errors;
  for (const char* method : {"magnitude", "obs", "admm"}) {
    const Result result = prune({"--method", method, "--stats", stats, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    errors.emplace_back();
    const nlohmann::json layers = result.json()["layers"];
    for (const auto& layer : layers) errors.back().push_back(layer["error"]);
    remove_output();
  }
  for (std::size_t i = 0; i < errors[0].size(); ++i) {
    EXPECT_LT(errors[1][i], 0.9 * errors[0][i]);
    EXPECT_LE(errors[2][i], errors[1][i] * (1 + 1e-6));
  }
}

TEST_F(PruneUpdate, SameBytesForAnyThreadsAndPacked) {
  const std::string stats = write_statistics(model, dir / "stats");
  const auto run = [&](const char* name, std::vector<std::string> more) {
    std::vector<std::string> args = {"prune",    model,  "--pattern", "16:2:8", "--no-time",
                                     "--method", "admm", "--stats",   stats,    "--iterations",
                                     "9",        "-o",   dir / name};
    args.insert(args.end(), more.begin(), more.end());
    const Result result = coppice(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return snapshot(dir / name);
  };
  const auto one = run("one", {"--threads", "1"});
  EXPECT_EQ(run("five", {"--threads", "5"}), one);
  const auto packed = run("packed", {"--pack"});
  ASSERT_EQ(
      coppice({"pack", dir / "one", "--pattern", "16:2:8", "-o", dir / "packed_after"}).exit_code,
      0);
  EXPECT_EQ(snapshot(dir / "packed_after"), packed);
}

TEST_F(PruneUpdate, NarrowDtypesAreRoundedOnce) {
  for (const char* dtype : {"BF16", "F16"}) {
    const std::string narrow = make_tiny(dir / dtype, [&](auto& spec) { spec.dtype = dtype; });
    const std::string stats = write_statistics(narrow, dir / (std::string(dtype) + ".stats"));
    const Result result = coppice({"prune", narrow, "--pattern", "4:8", "--method", "obs",
                                   "--stats", stats, "--no-time", "-o", out()});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Checkpoint before = Checkpoint::open(narrow), after = Checkpoint::open(out());
    const StatisticsFile file = StatisticsFile::open(stats);
    for (const LinearWeight& weight : before.linear_weights()) {
      std::vector<float> want = values(before.read(weight));
      obs_prune(want, weight.shape.rows, weight.shape.cols, Pattern::parse("4:8"),
                file.read(*file.input_of(weight.name)).gram);
      for (float& value : want) value = to_float(weight.dtype, from_float(weight.dtype, value));
      EXPECT_EQ(values(after.read(weight)), want) << weight.name;
    }
    remove_output();
  }
}

// Fewer samples than columns, and inputs that were always zero.
TEST_F(PruneUpdate, HardStatisticsSayWhatWasDone) {
  const std::string stats = write_statistics(model, dir / "stats", {.samples = 7, .dead = 5});
  for (const char* method : {"obs", "admm"}) {
    const Result text = prune({"--method", method, "--stats", stats});
    ASSERT_EQ(text.exit_code, 0) << text.err;
    EXPECT_THAT(text.out, HasSubstr(std::string(kQuery) + ": 5 inputs always zero"));
    EXPECT_THAT(text.out, HasSubstr("took"));
    remove_output();
    const Result magnitude = prune({"--stats", stats, "--json"});
    remove_output();
    const Result result = prune({"--method", method, "--stats", stats, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto better = result.json()["layers"], worse = magnitude.json()["layers"];
    for (std::size_t i = 0; i < better.size(); ++i) {
      EXPECT_LE(better[i]["error"], worse[i]["error"]);
      EXPECT_THAT(better[i]["note"], HasSubstr("5 inputs always zero"));
    }
    remove_output();
  }
}

TEST_F(PruneUpdate, DamagedWeights) {
  const std::string stats = write_statistics(model, dir / "stats");
  poke_f32(model + "/model.safetensors", kQuery, 70, std::nanf(""));
  expect_failure({"--method", "obs", "--stats", stats}, 1, kQuery);
  const Result result = prune({"--method", "obs", "--stats", stats, "--allow-nonfinite", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json layers = result.json()["layers"];
  for (const auto& layer : layers) {
    EXPECT_EQ(layer["scored_by"], layer["name"] == kQuery ? "magnitude" : "obs");
    EXPECT_EQ(layer["note"] != "", layer["name"] == kQuery);
  }
}

TEST_F(PruneUpdate, WeightsWithoutAGramMatrix) {
  const std::string norms = write_statistics(model, dir / "norms", {.gram = false});
  expect_failure({"--method", "obs", "--stats", norms}, 1, "no Gram matrix of the input of");
  const Result result =
      prune({"--method", "admm", "--stats", norms, "--missing-stats", "magnitude", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.json()["layers"][0]["scored_by"], "magnitude");
}

TEST_F(PruneUpdate, WrongUse) {
  const std::string stats = write_statistics(model, dir / "stats");
  expect_failure({"--method", "obs"}, 2, "needs --stats");
  expect_failure({"--method", "wanda", "--stats", stats, "--damping", "0.1"}, 2, "--damping");
  expect_failure({"--method", "ria", "--stats", stats, "--refinements", "1"}, 2, "--refinements");
  expect_failure({"--method", "obs", "--stats", stats, "--iterations", "3"}, 2, "--iterations");
  expect_failure({"--method", "admm", "--stats", stats, "--choice", "joint"}, 2, "--choice");
  expect_failure({"--method", "obs", "--stats", stats, "--choice", "pairwise"}, 2,
                 "joint, saliency");
  expect_failure({"--method", "fisher", "--stats", stats, "--choice", "joint"}, 2, "exhaustive");
  expect_failure({"--method", "fisher", "--stats", stats, "--device", "cuda"}, 2, "CPU only");
  expect_failure({"--method", "obs", "--stats", stats, "--damping", "-1"}, 2, "--damping");
  expect_failure({"--method", "surgeon", "--stats", stats}, 2, "surgeon");
  const Result refused = coppice({"prune", model, "--pattern", "8:16", "--method", "obs", "--stats",
                                  stats, "--choice", "joint", "-o", out()});
  EXPECT_EQ(refused.exit_code, 1);
  // Layers run side by side: any of them may be the first to fail.
  EXPECT_THAT(refused.err, HasSubstr("weight': joint choice: a group of 8:16"));
  EXPECT_FALSE(std::filesystem::exists(out()));
}

}  // namespace
}  // namespace coppice::cli::test
