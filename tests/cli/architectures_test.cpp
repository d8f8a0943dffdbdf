// Every architecture, weight type and kind of pattern through the commands: transposed Conv1D,
// fused projections, stacked experts, tied heads, shards.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "format/test_checkpoints.h"
#include "subprocess.h"

namespace coppice::cli::test {
namespace {

using coppice::testing::TestModel;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

struct Architecture {
  const char* name;
  TestModel (*make)(Dtype);
  std::size_t linear_weights;
};
constexpr Architecture kArchitectures[] = {
    {"bert", coppice::testing::bert_like, 12},   {"gpt2", coppice::testing::gpt2_like, 8},
    {"llama", coppice::testing::llama_like, 14}, {"mixtral", coppice::testing::mixtral_like, 18},
    {"phi3", coppice::testing::phi3_like, 4},
};

class EveryArchitecture : public ::testing::TestWithParam<std::tuple<std::size_t, std::string>> {};

Result ok(const std::vector<std::string>& args) {
  Result result = coppice(args);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result;
}

// Tensors of a checkpoint by name, in whatever file.
std::map<std::string, std::string> tensors_in(const fs::path& directory) {
  std::map<std::string, std::string> tensors;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() != ".safetensors") continue;
    const auto file = SafetensorsFile::open(entry.path());
    for (const auto& tensor : file.tensors()) {
      const auto data = file.data(tensor);
      tensors[tensor.name] = std::string(reinterpret_cast<const char*>(data.data()), data.size());
    }
  }
  return tensors;
}

TEST_P(EveryArchitecture, PruneThenPackOrBothAtOnceAndBackAgain) {
  const Architecture& architecture = kArchitectures[std::get<0>(GetParam())];
  const std::string pattern = std::get<1>(GetParam());
  // Which type meets which pattern changes with both: all pairs occur in the end.
  constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f8_e4m3, Dtype::i8};
  const Dtype dtype = kDtypes[(std::get<0>(GetParam()) + pattern.size()) % std::size(kDtypes)];
  SCOPED_TRACE(std::string(architecture.name) + " " + std::string(dtype_name(dtype)));
  TempDir dir;
  const std::string model = dir / "model", pruned = dir / "pruned", packed = dir / "packed",
                    at_once = dir / "at-once", back = dir / "back";
  write_model(architecture.make(dtype), model);
  const auto before = snapshot(model);

  const auto report =
      ok({"prune", model, "--pattern", pattern, "-o", pruned, "--no-time", "--json"}).json();
  EXPECT_EQ(report["layers"].size(), architecture.linear_weights);
  ok({"pack", pruned, "--pattern", pattern, "-o", packed});
  ok({"verify", packed, "--against", pruned});
  ok({"verify", packed, "--against", model});
  ok({"unpack", packed, "-o", back});
  EXPECT_EQ(snapshot(back).size(), before.size()) << "every other file comes along";
  EXPECT_EQ(tensors_in(back), tensors_in(pruned));

  const auto packed_report =
      ok({"prune", model, "--pattern", pattern, "--pack", "-o", at_once, "--no-time", "--json"})
          .json();
  EXPECT_EQ(packed_report["packed"], true);
  EXPECT_EQ(packed_report["totals"]["kept_magnitude"], report["totals"]["kept_magnitude"]);
  EXPECT_EQ(snapshot(at_once), snapshot(packed)) << "--pack gives the bytes of prune, then pack";
  EXPECT_EQ(snapshot(model), before);
}

INSTANTIATE_TEST_SUITE_P(
    All, EveryArchitecture,
    ::testing::Combine(::testing::Range<std::size_t>(0, std::size(kArchitectures)),
                       ::testing::Values<std::string>("2:4", "1:4", "3:16", "vw4/2:8", "bw4x4/1:2",
                                                      "8:2:8", "8:3/6:12")));

TEST(PruneAndPack, WeightsThatWouldNotShrinkAndPartsOfAStackStayDense) {
  TempDir dir;
  const std::string model = dir / "model", packed = dir / "packed", pruned = dir / "pruned";
  write_model(coppice::testing::mixtral_like(Dtype::bf16), model);
  const std::vector<std::string> choice = {"--pattern",     "2:4",
                                           "--exclude",     "*.0.mlp.experts.down_proj*",
                                           "--pattern-for", "model.layers.1.mlp.experts.*=dense",
                                           "--no-time",     "--json"};
  std::vector<std::string> at_once = {"prune", model, "--pack", "-o", packed};
  std::vector<std::string> dense = {"prune", model, "-o", pruned};
  at_once.insert(at_once.end(), choice.begin(), choice.end());
  dense.insert(dense.end(), choice.begin(), choice.end());
  const auto report = ok(at_once).json();
  ok(dense);
  EXPECT_GT(report["layers"].size(), 0u);
  ok({"verify", packed, "--against", pruned});
  ok({"unpack", packed, "-o", dir / "back"});
  EXPECT_EQ(tensors_in(dir / "back"), tensors_in(pruned));
  // 15:16 of bf16 takes more bytes than dense: nothing is packed, and that is said.
  const Result result =
      coppice({"prune", model, "--pattern", "15:16", "--pack", "-o", dir / "all", "--no-time"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("smaller"));
  EXPECT_FALSE(fs::exists(dir / "all"));
}

}  // namespace
}  // namespace coppice::cli::test
