// coppice prune --permute: orders of channels that packed weights store.
#include <gtest/gtest.h>

#include "coppice/permutation_search.h"
#include "statistics_fixture.h"

namespace coppice::cli::test {
namespace {

class Permute : public PruneWithStatistics {
 protected:
  // Packs into out() with and into dir/plain without --permute.
  nlohmann::json pack(std::vector<std::string> options, const std::string& output, bool permute) {
    std::vector<std::string> args = {"prune", model, "--no-time", "--json", "--pack", "-o", output};
    args.insert(args.end(), options.begin(), options.end());
    if (permute) args.push_back("--permute");
    const Result result = coppice(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.json();
  }
};

TEST_F(Permute, KeepsMoreAndStoresTheOrder) {
  for (const char* pattern : {"16:2:8", "vw4/4:8", "16:2:5"}) {
    const auto permuted = pack({"--pattern", pattern}, out(), true);
    const auto plain = pack({"--pattern", pattern}, dir / "plain", false);
    const Checkpoint checkpoint = Checkpoint::open(out()), original = Checkpoint::open(model);
    std::size_t stored = 0, layer = 0;
    for (const LinearWeight& weight : original.linear_weights()) {
      const auto& row = permuted["layers"][layer];
      const PackedEntry& entry = *checkpoint.find_packed(weight.name);
      EXPECT_EQ(row["name"], weight.name);
      EXPECT_GE(row["kept_magnitude"], plain["layers"][layer]["kept_magnitude"]) << weight.name;
      EXPECT_EQ(entry.has_input_permutation, !row["order_gain"].is_null());
      ++layer;
      if (!entry.has_input_permutation) continue;
      ++stored;
      const PackedData data = checkpoint.read_packed(entry);
      EXPECT_FALSE(is_identity(data.view().input_permutation));
      // What is stored is the magnitude mask of that order, and the weights are those before.
      const std::vector<float> dense = values(original.read(weight));
      const DenseView view = dense_view(dense, weight.shape.rows, weight.shape.cols);
      const Mask mask =
          select_mask_permuted(view, Pattern::parse(pattern), data.view().input_permutation).mask;
      std::vector<float> unpacked(dense.size());
      decompress(data.view(), {reinterpret_cast<std::byte*>(unpacked.data()), Dtype::f32, view.rows,
                               view.cols, 0});
      for (std::int64_t i = 0; i < std::ssize(dense); ++i) {
        const bool kept = mask.get(i / view.cols, i % view.cols);
        EXPECT_EQ(unpacked[static_cast<std::size_t>(i)],
                  kept ? dense[static_cast<std::size_t>(i)] : 0.0f);
      }
    }
    EXPECT_GT(stored, layer / 2) << pattern;
    const Result verified = coppice({"verify", out()});
    EXPECT_EQ(verified.exit_code, 0) << verified.out;
    EXPECT_EQ(coppice({"inspect", out()}).exit_code, 0);
    ASSERT_EQ(coppice({"unpack", out(), "-o", dir / "dense"}).exit_code, 0);
    EXPECT_EQ(coppice({"verify", out(), "--against", dir / "dense"}).exit_code, 0);
    for (const char* name : {"plain", "dense", "out"}) std::filesystem::remove_all(dir / name);
  }
}

TEST_F(Permute, EveryMethodLosesNoMoreThanInTheOwnOrder) {
  const std::string stats = write_statistics(model, dir / "stats");
  const std::string held = write_statistics(model, dir / "held", {StatisticsSet::held_out, 2});
  for (const char* method : {"magnitude", "wanda", "ria", "obs", "admm"}) {
    const std::vector<std::string> options = {"--pattern", "16:2:8", "--method",   method,
                                              "--stats",   stats,    "--held-out", held};
    const auto permuted = pack(options, out(), true);
    const auto plain = pack(options, dir / "plain", false);
    double sum = 0, plain_sum = 0;
    for (std::size_t i = 0; i < plain["layers"].size(); ++i) {
      const double error = permuted["layers"][i]["error"];
      const double plain_error = plain["layers"][i]["error"];
      EXPECT_LE(error, plain_error * (1 + 1e-6)) << method << " " << plain["layers"][i]["name"];
      sum += error;
      plain_sum += plain_error;
    }
    if (method != std::string("obs")) {  // compensation leaves random weights nothing to gain
      EXPECT_LT(sum, plain_sum) << method;
    }
    EXPECT_EQ(coppice({"verify", out()}).exit_code, 0);
    for (const char* name : {"plain", "out"}) std::filesystem::remove_all(dir / name);
  }
}

TEST_F(Permute, SameBytesForAnyThreads) {
  const std::string stats = write_statistics(model, dir / "stats");
  const std::vector<std::string> options = {"--pattern", "vw4/4:8", "--method", "obs",
                                            "--stats",   stats,     "--threads"};
  auto one = options, three = options;
  one.push_back("1");
  three.push_back("3");
  pack(one, out(), true);
  pack(three, dir / "three", true);
  EXPECT_EQ(snapshot(out()), snapshot(dir / "three"));
}

TEST_F(Permute, PatternsWithoutIndicesKeepTheirOrder) {
  const auto report = pack({"--pattern", "16:2:8", "--pattern-for", "*q_proj*=2:4", "--pattern-for",
                            "*k_proj*=bw4x4/2:4"},
                           out(), true);
  for (const auto& layer : report["layers"]) {
    const std::string name = layer["name"];
    if (name.find("q_proj") == std::string::npos && name.find("k_proj") == std::string::npos)
      continue;
    EXPECT_TRUE(layer["order_gain"].is_null()) << name;
  }
  const Result verified = coppice({"verify", out()});
  EXPECT_EQ(verified.exit_code, 0) << verified.out;
}

TEST_F(Permute, WrongUsage) {
  expect_failure({"--permute"}, 2, "--permute needs --pack");
  expect_failure({"--pack", "--permute-time", "3"}, 2, "--permute");
}

}  // namespace
}  // namespace coppice::cli::test
