// coppice prune --permute: orders of channels that packed weights store, or layers before take.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "channel_order.h"
#include "coppice/error.h"
#include "coppice/fisher_order.h"
#include "coppice/output_error.h"
#include "coppice/permutation_search.h"
#include "coppice/update.h"
#include "statistics_fixture.h"

namespace coppice::cli::test {
namespace {

using ::testing::HasSubstr;

class Permute : public PruneWithStatistics {
 protected:
  static std::string sibling(std::string weight, const char* other) {
    const std::string last = "down_proj";
    return weight.replace(weight.find(last), last.size(), other);
  }
  static LinearWeight weight_of(const Checkpoint& checkpoint, const std::string& name) {
    for (const LinearWeight& weight : checkpoint.linear_weights())
      if (weight.name == name) return weight;
    throw std::runtime_error(name);
  }
  // after[r] = before[p[r]]; whole rows are compared.
  static Permutation rows_of(const Checkpoint& before, const Checkpoint& after,
                             const std::string& name) {
    const LinearWeight weight = weight_of(before, name);
    const auto cols = static_cast<std::size_t>(weight.shape.cols);
    const std::vector<float> old_rows = values(before.read(weight)),
                             new_rows = values(after.read(weight));
    Permutation order;
    for (std::size_t r = 0; r < new_rows.size(); r += cols)
      for (std::size_t s = 0; s < old_rows.size(); s += cols)
        if (std::equal(new_rows.begin() + static_cast<std::ptrdiff_t>(r),
                       new_rows.begin() + static_cast<std::ptrdiff_t>(r + cols),
                       old_rows.begin() + static_cast<std::ptrdiff_t>(s)))
          order.push_back(static_cast<std::uint32_t>(s / cols));
    check_permutation(order, weight.shape.rows);
    return order;
  }
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

// What is stored is an order inside of the blocks, and fisher_prune's result in it.
TEST_F(Permute, FisherOrdersStayInsideTheBlocks) {
  const std::string stats = write_statistics(model, dir / "stats", {.fisher = 16});
  pack({"--pattern", "vw4/2:4", "--method", "fisher", "--stats", stats}, out(), true);
  const Checkpoint checkpoint = Checkpoint::open(out()), original = Checkpoint::open(model);
  const StatisticsFile file = StatisticsFile::open(stats);
  const Pattern pattern = Pattern::parse("vw4/2:4");
  std::size_t stored = 0;
  for (const LinearWeight& weight : original.linear_weights()) {
    const PackedEntry& entry = *checkpoint.find_packed(weight.name);
    const PackedData data = checkpoint.read_packed(entry);
    const auto rows = weight.shape.rows, cols = weight.shape.cols;
    const FisherStatistics fisher = file.read(*file.fisher_of(weight.name));
    const std::vector<float> dense = values(original.read(weight));
    std::vector<float> own = dense, unpacked(dense.size());
    const double own_error = fisher_prune(own, rows, cols, pattern, fisher).error;
    decompress(data.view(),
               {reinterpret_cast<std::byte*>(unpacked.data()), Dtype::f32, rows, cols, 0});
    if (!entry.has_input_permutation) {
      EXPECT_EQ(unpacked, own) << weight.name;
      continue;
    }
    ++stored;
    const auto order = data.view().input_permutation;
    for (std::size_t c = 0; c < order.size(); ++c) EXPECT_EQ(order[c] / 16, c / 16);
    std::vector<float> gathered = gather_cols(dense, order, 1);
    const double error =
        fisher_prune(gathered, rows, cols, pattern, gather_fisher(fisher, cols, {}, order, 1))
            .error;
    EXPECT_LT(error, own_error) << weight.name;
    EXPECT_EQ(gather_cols(unpacked, order, 1), gathered) << weight.name;
  }
  EXPECT_GT(stored, 4u);
}

TEST_F(Permute, FisherBlocksThatEndInsideOfGroupsKeepTheirOrder) {
  const std::string stats = write_statistics(model, dir / "stats", {.fisher = 12});
  const std::vector<std::string> options = {"--pattern", "16:2:8",  "--method",
                                            "fisher",    "--stats", stats};
  const auto report = pack(options, out(), true);
  for (const auto& layer : report["layers"]) {
    EXPECT_TRUE(layer["order_gain"].is_null());
    EXPECT_THAT(layer["note"].get<std::string>(), HasSubstr("end inside of groups"));
  }
}

// Rows of 2:4 are pruned each by itself: those before a folded order come in it, with their blocks.
TEST_F(Permute, FisherBlocksFollowTheRowsOfAFold) {
  const std::string stats = write_statistics(model, dir / "stats", {.fisher = 8});
  const std::vector<std::string> options = {"--method", "fisher", "--stats", stats};
  const std::string plain = dir / "plain";
  ASSERT_EQ(prune(options).exit_code, 0);
  std::filesystem::rename(out(), plain);
  auto permuting = options;
  permuting.insert(permuting.end(), {"--permute", "--json"});
  const Result result = prune(permuting);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Checkpoint before = Checkpoint::open(plain), after = Checkpoint::open(out());
  std::size_t folded = 0;
  const nlohmann::json layers = result.json()["layers"];
  for (const auto& layer : layers) {
    const std::string name = layer["name"];
    if (layer["order_gain"].is_null() || name.find("down_proj") == std::string::npos) continue;
    ++folded;
    const Permutation order = rows_of(before, after, sibling(name, "up_proj"));
    EXPECT_EQ(order, rows_of(before, after, sibling(name, "gate_proj")));
    EXPECT_FALSE(is_identity(order));
    for (std::size_t c = 0; c < order.size(); ++c) EXPECT_EQ(order[c] / 8, c / 8);
  }
  EXPECT_EQ(folded, 2u);
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

// The order of down_proj's columns becomes that of the rows of gate_proj and up_proj.
TEST_F(Permute, FoldsIntoTheLayerBefore) {
  const std::string stats = write_statistics(model, dir / "stats");
  for (const char* method : {"magnitude", "wanda", "obs"}) {
    const Result result = prune(
        {"--permute", "--include", "*down_proj*", "--method", method, "--stats", stats, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Checkpoint before = Checkpoint::open(model), after = Checkpoint::open(out());
    const StatisticsFile file = StatisticsFile::open(stats);
    const nlohmann::json layers = result.json()["layers"];
    for (const auto& layer : layers) {
      const std::string name = layer["name"];
      EXPECT_GT(layer["order_gain"].get<double>(), 0);
      const Permutation order = rows_of(before, after, sibling(name, "up_proj"));
      EXPECT_FALSE(is_identity(order));
      EXPECT_EQ(order, rows_of(before, after, sibling(name, "gate_proj")));
      // Put back, the pruned weight has the error that the report says.
      const LinearWeight weight = weight_of(before, name);
      const std::vector<float> dense = values(before.read(weight));
      std::vector<float> pruned = values(after.read(weight)), put_back(pruned.size());
      const auto cols = static_cast<std::size_t>(weight.shape.cols);
      std::size_t kept = 0, moved = 0;
      for (std::size_t i = 0; i < pruned.size(); ++i) {
        put_back[i / cols * cols + order[i % cols]] = pruned[i];
        kept += pruned[i] != 0;
      }
      for (std::size_t i = 0; i < dense.size(); ++i)
        moved += put_back[i] != 0 && put_back[i] != dense[i];
      EXPECT_EQ(kept, pruned.size() / 2);
      if (method != std::string("obs")) {
        EXPECT_EQ(moved, 0u);
      }
      EXPECT_NEAR(layer["error"].get<double>(),
                  output_error(dense_view(dense, weight.shape.rows, weight.shape.cols),
                               dense_view(put_back, weight.shape.rows, weight.shape.cols),
                               file.read(*file.input_of(name)).gram),
                  1e-6);
    }
    EXPECT_EQ(coppice({"verify", out()}).exit_code, 0);
    EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"model", "out", "stats"}));
    std::filesystem::remove_all(out());
  }
}

// Two heads of o read one head of v: its rows have one order, which both heads' columns follow.
TEST_F(Permute, FoldsIntoSharedHeads) {
  constexpr std::size_t kHead = 64, kCopies = 2;
  const std::string shared = make_tiny(dir / "shared", [](auto& spec) {
    spec.hidden = 256;
    spec.sharing = 2;
  });
  const std::string stats = write_statistics(shared, dir / "stats", {.fisher = 8});
  for (const char* method : {"wanda", "obs", "fisher"}) {
    const Result result =
        coppice({"prune", shared, "--pattern", "2:4", "--no-time", "-o", out(), "--permute",
                 "--include", "*o_proj*", "--method", method, "--stats", stats, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Checkpoint before = Checkpoint::open(shared), after = Checkpoint::open(out());
    const StatisticsFile file = StatisticsFile::open(stats);
    const nlohmann::json layers = result.json()["layers"];
    EXPECT_FALSE(layers.empty());
    for (const auto& layer : layers) {
      const std::string name = layer["name"];
      std::string values_before = name;
      values_before.replace(name.find("o_proj"), 6, "v_proj");
      const Permutation order = rows_of(before, after, values_before);
      EXPECT_FALSE(is_identity(order)) << method;
      const LinearWeight weight = weight_of(before, name);
      const auto cols = static_cast<std::size_t>(weight.shape.cols);
      ASSERT_EQ(order.size() * kCopies, cols);
      const std::vector<float> dense = values(before.read(weight)),
                               pruned = values(after.read(weight));
      std::vector<float> put_back(pruned.size());
      for (std::size_t i = 0; i < pruned.size(); ++i) {
        const std::size_t c = i % cols, channel = c / kHead / kCopies * kHead + c % kHead;
        EXPECT_EQ(order[channel] / kHead, channel / kHead);
        put_back[i / cols * cols + c / kHead * kHead + order[channel] % kHead] = pruned[i];
      }
      EXPECT_NEAR(layer["error"].get<double>(),
                  output_error(dense_view(dense, weight.shape.rows, weight.shape.cols),
                               dense_view(put_back, weight.shape.rows, weight.shape.cols),
                               file.read(*file.input_of(name)).gram),
                  1e-6)
          << method;
    }
    std::filesystem::remove_all(out());
  }
}

TEST_F(Permute, FoldsAndStoresInOneRun) {
  const auto report = pack({"--pattern", "16:2:8", "--pattern-for", "*down_proj*=2:4",
                            "--pattern-for", "*up_proj*=2:4", "--pattern-for", "*gate_proj*=1:4"},
                           out(), true);
  const Checkpoint checkpoint = Checkpoint::open(out());
  std::size_t folded = 0, stored = 0;
  for (const auto& layer : report["layers"]) {
    const PackedEntry* entry = checkpoint.find_packed(layer["name"].get<std::string>());
    ASSERT_NE(entry, nullptr);
    stored += entry->has_input_permutation ? 1 : 0;
    folded += !layer["order_gain"].is_null() && !entry->has_input_permutation ? 1 : 0;
    EXPECT_TRUE(!entry->has_input_permutation || layer["pattern"] == "16:2:8");
  }
  EXPECT_EQ(folded, 2u);  // down_proj of both layers
  EXPECT_GT(stored, 4u) << "COUNT " << stored;
  EXPECT_EQ(coppice({"verify", out()}).exit_code, 0);
}

TEST_F(Permute, WhereNothingCanBeFoldedTheOrderStays) {
  const Result result = prune({"--permute", "--include", "*q_proj*"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("no layer gains by an order"));
  const std::string plain = dir / "plain";
  ASSERT_EQ(coppice({"prune", model, "--pattern", "2:4", "--include", "*q_proj*", "--no-time", "-o",
                     plain})
                .exit_code,
            0);
  EXPECT_EQ(snapshot(out()), snapshot(plain));
}

TEST_F(Permute, WrongUsage) {
  expect_failure({"--permute", "--method", "scores", "--scores", "x"}, 2, "--method scores");
  expect_failure({"--pack", "--permute-time", "3"}, 2, "--permute");
}

}  // namespace
}  // namespace coppice::cli::test
