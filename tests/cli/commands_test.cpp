// Every command's happy path, as text and as JSON, and the round trip through all of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "fixtures.h"
#include "subprocess.h"

namespace coppice::cli::test {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int kLinearWeights = 14;  // of the tiny checkpoint

void expect_ok(const Result& result) {
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "") << "nothing goes to stderr without a terminal";
}

TEST(Help, NamesEveryCommand) {
  Result result = coppice({"--help"});
  expect_ok(result);
  for (const char* command : {"inspect", "explain", "prune", "pack", "unpack", "verify", "bench",
                              "statistics", "Exit codes"})
    EXPECT_THAT(result.out, HasSubstr(command));
}

TEST(Help, EveryCommandHasExamples) {
  for (const char* command :
       {"inspect", "explain", "prune", "pack", "unpack", "verify", "bench", "statistics"}) {
    Result result = coppice({command, "--help"});
    expect_ok(result);
    EXPECT_THAT(result.out, HasSubstr("Examples:")) << command;
    EXPECT_THAT(result.out, HasSubstr(std::string("coppice ") + command));
    EXPECT_THAT(result.out, HasSubstr("--json"));
  }
}

TEST(Version, NamesCpuAndCuda) {
  Result result = coppice({"--version"});
  expect_ok(result);
  EXPECT_THAT(result.out, StartsWith("coppice "));
  EXPECT_THAT(result.out, HasSubstr("CPU kernels: "));
  EXPECT_THAT(result.out, HasSubstr("CUDA: "));
}

TEST(Explain, TextAndJson) {
  Result text = coppice({"explain", "64:2:8", "2:4"});
  expect_ok(text);
  EXPECT_THAT(text.out, HasSubstr("64 consecutive rows together keep 4 of every 8"));
  Result json = coppice({"explain", "64:2:8,2:4", "--json"});
  expect_ok(json);
  EXPECT_EQ(json.json().size(), 2u);
  EXPECT_EQ(json.json()[0]["density"], 0.25);
  EXPECT_EQ(coppice({"inspect", "64:2:8"}).out, coppice({"explain", "64:2:8"}).out);
}

TEST(Explain, StructureDecay) {
  Result text = coppice({"explain", "64:2:8", "--decay"});
  expect_ok(text);
  EXPECT_THAT(text.out, HasSubstr("    2  64:5/7:8  62.5 %"));
  const auto json =
      coppice({"explain", "64:2:8,2:4", "--decay", "--decay-steps", "2", "--json"}).json();
  ASSERT_EQ(json[0]["decay"].size(), 2u);
  EXPECT_EQ(json[0]["decay"][1]["pattern"], "64:2:8");
  EXPECT_EQ(json[0]["decay"][1]["epoch"], 6);
  EXPECT_EQ(json[1]["decay"].size(), 2u);
  EXPECT_EQ(coppice({"explain", "dense", "--decay"}).exit_code, 1);
  EXPECT_EQ(coppice({"explain", "2:4", "--decay-steps", "2"}).exit_code, 2);
}

TEST(Inspect, DenseCheckpoint) {
  TempDir dir;
  std::string model = make_tiny(dir / "model");
  Result text = coppice({"inspect", model});
  expect_ok(text);
  EXPECT_THAT(text.out, HasSubstr("model.layers.0.self_attn.q_proj.weight"));
  EXPECT_THAT(text.out, HasSubstr("64 x 160"));
  Result result = coppice({"inspect", model, "--pattern", "2:4", "--json"});
  expect_ok(result);
  auto json = result.json();
  EXPECT_EQ(json["packed"], false);
  int linear = 0;
  for (const auto& weight : json["weights"]) {
    if (weight["role"] != "linear") continue;
    ++linear;
    EXPECT_EQ(weight["fits"], false);
    EXPECT_EQ(weight["pattern"], "dense");
    EXPECT_GT(weight["fitted_bytes"], 0);
  }
  EXPECT_EQ(linear, kLinearWeights);
}

TEST(Inspect, OneFile) {
  TempDir dir;
  std::string model = make_tiny(dir / "model");
  Result text = coppice({"inspect", model + "/model.safetensors"});
  expect_ok(text);
  EXPECT_THAT(text.out, HasSubstr("one safetensors file"));
  Result json = coppice({"inspect", model + "/model.safetensors", "--json"});
  expect_ok(json);
  EXPECT_EQ(json.json()["weights"].size(), kLinearWeights + 2u);  // embeddings and head, too
}

TEST(Prune, TextSaysWhatWasDone) {
  TempDir dir;
  std::string model = make_tiny(dir / "model"), out = dir / "out";
  auto before = snapshot(model);
  Result result = coppice({"prune", model, "--pattern", "2:4", "-o", out, "--no-time"});
  expect_ok(result);
  EXPECT_THAT(result.out, HasSubstr("model.layers.1.mlp.down_proj.weight"));
  EXPECT_THAT(result.out, HasSubstr("kept magnitude"));
  EXPECT_THAT(result.out, HasSubstr("14 layers"));
  EXPECT_THAT(result.out, HasSubstr("opens in stock transformers"));
  EXPECT_THAT(result.out, Not(HasSubstr("speedup")));
  EXPECT_EQ(snapshot(model), before);
  EXPECT_EQ(fingerprint(out + "/config.json"), before["config.json"]);
}

TEST(Prune, TimesTheLayers) {
  TempDir dir;
  std::string model = make_tiny(dir / "model"), out = dir / "out";
  Result result = coppice(
      {"prune", model, "--pattern", "2:4", "--time", "1,3", "-o", out, "--threads", "1", "--json"});
  expect_ok(result);
  auto result_json = result.json();
  for (const auto& layer : result_json["layers"]) {
    ASSERT_EQ(layer["times"].size(), 2u);
    EXPECT_EQ(layer["times"][1]["tokens"], 3);
    EXPECT_GT(layer["times"][0]["sparse_seconds"], 0);
  }
  Result text = coppice({"prune", model, "--pattern", "2:4", "-o", std::string(dir / "out2"),
                         "--time", "1", "--threads", "1"});
  expect_ok(text);
  EXPECT_THAT(text.out, HasSubstr("speedup@1"));
}

TEST(Prune, PatternForIncludeAndExclude) {
  TempDir dir;
  std::string model = make_tiny(dir / "model");
  Result result = coppice({"prune", model, "--pattern", "vw4/8:32", "--pattern-for",
                           "*down_proj*=2:4", "--pattern-for", "*up_proj*=dense", "--exclude",
                           "*.layers.0.*", "-o", std::string(dir / "out"), "--no-time", "--json"});
  expect_ok(result);
  std::map<std::string, std::string> patterns;
  auto result_json = result.json();
  for (const auto& layer : result_json["layers"]) patterns[layer["name"]] = layer["pattern"];
  EXPECT_EQ(patterns.size(), 6u);  // layer 1 without up_proj
  EXPECT_EQ(patterns["model.layers.1.mlp.down_proj.weight"], "2:4");
  EXPECT_EQ(patterns["model.layers.1.self_attn.q_proj.weight"], "vw4/8:32");

  result = coppice({"prune", "--include", "lm_head.weight", model, "--pattern", "2:4", "-o",
                    std::string(dir / "head"), "--no-time", "--json"});
  expect_ok(result);
  ASSERT_EQ(result.json()["layers"].size(), 1u);
  EXPECT_EQ(result.json()["layers"][0]["name"], "lm_head.weight");
}

TEST(Prune, ExactColumnsKeepNoLessThanGreedy) {
  TempDir dir;
  std::string model = make_tiny(dir / "model");
  std::map<std::string, double> kept;
  for (const char* search : {"exact", "swaps", "greedy"}) {
    Result result = coppice({"prune", model, "--pattern", "16:2:8", "--columns", search, "-o",
                             std::string(dir / search), "--no-time", "--json"});
    expect_ok(result);
    kept[search] = result.json()["totals"]["kept_magnitude"];
  }
  EXPECT_GE(kept["exact"], kept["swaps"]);
  EXPECT_GE(kept["swaps"], kept["greedy"]);
  EXPECT_GT(kept["greedy"], 0.25);
}

struct RoundTripCase {
  const char* pattern;
  const char* dtype;
};
void PrintTo(const RoundTripCase& c, std::ostream* out) { *out << c.pattern << " " << c.dtype; }
class RoundTrip : public ::testing::TestWithParam<RoundTripCase> {};

// prune -> pack -> verify -> unpack: what comes out is what was pruned, bit for bit.
TEST_P(RoundTrip, IsBitExact) {
  TempDir dir;
  std::string model = make_tiny(dir / "model", [](auto& spec) {
    spec.dtype = GetParam().dtype;
    spec.shard_gigabytes = 200e3 / 1e9;  // several files
  });
  std::string pruned = dir / "pruned", packed = dir / "packed", back = dir / "back";
  expect_ok(coppice({"prune", model, "--pattern", GetParam().pattern, "-o", pruned, "--no-time"}));
  Result pack = coppice({"pack", pruned, "-o", packed, "--json"});
  expect_ok(pack);
  auto pack_json = pack.json();
  EXPECT_LT(pack_json["checkpoint_bytes_out"], pack_json["checkpoint_bytes_in"]);
  for (const auto& layer : pack_json["layers"])
    EXPECT_LT(layer["packed_bytes"], layer["dense_bytes"]);

  for (const auto& [subject, original] :
       {std::pair{packed, pruned}, {packed, model}, {pruned, model}}) {
    Result verify = coppice({"verify", subject, "--against", original, "--tokens", "5", "--json"});
    expect_ok(verify);
    auto json = verify.json();
    EXPECT_EQ(json["ok"], true);
    EXPECT_EQ(json["layers"].size(), kLinearWeights * 1u);
    for (const auto& layer : json["layers"]) {
      EXPECT_EQ(layer["changed"], 0);
      EXPECT_EQ(layer["products"].size(), 5u);  // reference; cpu: 1 and 5 tokens, two layouts
    }
  }
  expect_ok(coppice({"unpack", packed, "-o", back}));
  EXPECT_EQ(snapshot(back), snapshot(pruned));
}

INSTANTIATE_TEST_SUITE_P(
    Patterns, RoundTrip,
    ::testing::Values(RoundTripCase{"2:4", "F32"}, RoundTripCase{"2:4", "BF16"},
                      RoundTripCase{"64:2:8", "F32"}, RoundTripCase{"64:2:8", "F16"},
                      RoundTripCase{"vw32/8:32", "BF16"}, RoundTripCase{"bw4x4/1:4", "F32"},
                      RoundTripCase{"3:8", "F16"}));

TEST(Pack, LeavesDenseLayersAlone) {
  TempDir dir;
  std::string model = make_tiny(dir / "model"), pruned = dir / "pruned", packed = dir / "packed";
  expect_ok(coppice({"prune", model, "--pattern", "2:4", "--exclude", "*.layers.0.*", "-o", pruned,
                     "--no-time"}));
  Result result = coppice({"pack", pruned, "--pattern", "2:4", "-o", packed});
  expect_ok(result);
  EXPECT_THAT(result.out, HasSubstr("needs Coppice to open"));
  auto json = coppice({"inspect", packed, "--json"}).json();
  EXPECT_EQ(json["packed"], true);
  int packed_weights = 0;
  for (const auto& weight : json["weights"]) packed_weights += weight["packed"] == true;
  EXPECT_EQ(packed_weights, kLinearWeights / 2);
  expect_ok(coppice({"verify", packed, "--against", pruned}));
}

// Such as the 8-bit floats of other vendors, and formats of less than a byte: they come along.
TEST(Dtypes, ThatCannotBePrunedAreCopiedAndNamed) {
  struct Case {
    const char* dtype;
    int bits;
  };
  const std::string name = "model.layers.1.mlp.up_proj.weight", glob = "*.1.mlp.up_proj.weight";
  for (const auto& [dtype, bits] :
       {Case{"F64", 64}, Case{"I64", 64}, Case{"F8_E5M2", 8}, Case{"F8_E8M0", 8},
        Case{"F8_E4M3FNUZ", 8}, Case{"F8_E5M2FNUZ", 8}, Case{"F6_E3M2", 6}, Case{"F4", 4}}) {
    SCOPED_TRACE(dtype);
    TempDir dir;
    // 192 x 64: whole bytes in every format.
    std::string model = make_tiny(dir / "model", [](auto& spec) { spec.intermediate = 192; });
    std::string pruned = dir / "pruned", packed = dir / "packed";
    edit_header(model + "/model.safetensors", [&](nlohmann::json& header) {
      auto& tensor = header.at(name);
      tensor["dtype"] = dtype;
      tensor["shape"] = {192 * 32 / bits, 64};
    });
    const std::string count = std::string("1 of ") + dtype;
    EXPECT_THAT(coppice({"inspect", model}).out, HasSubstr(count));
    const auto left = coppice({"inspect", model, "--json"}).json()["left_for_dtype"];
    ASSERT_EQ(left.size(), 1u);
    EXPECT_EQ(left[0]["tensor"], name);
    EXPECT_EQ(left[0]["dtype"], dtype);
    expect_ok(coppice({"inspect", model + "/model.safetensors"}));

    const Result one =
        coppice({"prune", model, "--pattern", "2:4", "--include", glob, "-o", pruned});
    EXPECT_EQ(one.exit_code, 1);
    EXPECT_THAT(one.err, HasSubstr(name + "' (" + dtype + ")"));
    const Result all = coppice({"prune", model, "--pattern", "2:4", "-o", pruned, "--no-time"});
    EXPECT_EQ(all.exit_code, 0);
    EXPECT_THAT(all.err, HasSubstr("cannot be pruned: " + count));
    EXPECT_THAT(all.out, HasSubstr("13 layers"));
    expect_ok(coppice({"pack", pruned, "-o", packed}));
    expect_ok(coppice({"verify", packed, "--against", pruned}));
    expect_ok(coppice({"unpack", packed, "-o", dir / "back"}));
    EXPECT_EQ(snapshot(dir / "back"), snapshot(pruned));
    EXPECT_EQ(tensor_bytes(packed + "/model.safetensors", name),
              tensor_bytes(model + "/model.safetensors", name));
  }
}

TEST(Verify, FindsAChangedWeight) {
  TempDir dir;
  std::string model = make_tiny(dir / "model"), pruned = dir / "pruned", packed = dir / "packed";
  expect_ok(coppice({"prune", model, "--pattern", "2:4", "-o", pruned, "--no-time"}));
  expect_ok(coppice({"pack", pruned, "-o", packed}));
  poke_f32(packed + "/model.safetensors", "model.layers.1.mlp.up_proj.weight.values", 5, 7.0f);
  Result result = coppice({"verify", packed, "--against", pruned});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("FAILED: 1 weights differ from the original"));
  EXPECT_THAT(result.out, HasSubstr("13 of 14 layers verified"));
}

TEST(Verify, FindsAChangedTensorBesideTheWeights) {
  TempDir dir;
  std::string model = make_tiny(dir / "model"), pruned = dir / "pruned";
  expect_ok(coppice({"prune", model, "--pattern", "2:4", "-o", pruned, "--no-time"}));
  poke_f32(pruned + "/model.safetensors", "model.norm.weight", 0, 7.0f);
  Result result = coppice({"verify", pruned, "--against", model});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("model.norm.weight"));
}

TEST(Bench, TextCsvAndJson) {
  TempDir dir;
  std::string csv = dir / "out.csv";
  std::vector<std::string> common = {"bench",    "--pattern", "2:4,vw4/1:4", "--shape", "64x96",
                                     "--tokens", "1,3",       "--threads",   "1"};
  auto text_args = common;
  text_args.insert(text_args.end(), {"--csv", csv});
  Result text = coppice(text_args);
  expect_ok(text);
  EXPECT_THAT(text.out, HasSubstr("vw4/1:4"));
  EXPECT_THAT(text.out, HasSubstr("speedup: "));
  std::string lines = read_file(csv);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 5);
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"out.csv"});
  common.insert(common.end(), {"--json", "--no-baseline", "--dtype", "bf16"});
  Result json = coppice(common);
  expect_ok(json);
  EXPECT_EQ(json.json()["results"].size(), 4u);
  auto json_json = json.json();
  for (const auto& result : json_json["results"]) EXPECT_EQ(result["check"], "ok");
}

// OpenBLAS waits for ever for threads that OpenMP does not give it.
TEST(Bench, FewerThreadsThanWereAskedFor) {
  for (const auto& [name, value] :
       {std::pair("OMP_THREAD_LIMIT", "1"), std::pair("OMP_DYNAMIC", "true")}) {
    RunOptions limited;
    limited.environment = {{name, value}};
    expect_ok(coppice(
        {"bench", "--pattern", "2:4", "--shape", "512x512", "--tokens", "256", "--threads", "4"},
        limited));
  }
}

// A variable left over from something else must not slow the dense library down: what would be
// compared with it would look faster than it is. The command is linked with that library, which has
// read the variable before anything else happens.
TEST(Bench, ComparesWithTheFastestKernelsOfTheDenseLibrary) {
  const auto baseline = [](const char* variable) {
    RunOptions options;
    options.environment[variable] = "NEHALEM";
    const Result result = coppice({"bench", "--json", "--pattern", "2:4", "--shape", "64x64",
                                   "--tokens", "2", "--threads", "1"},
                                  options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.json()["baseline"].get<std::string>();
  };
  const std::string forced = baseline("COPPICE_OPENBLAS_CORETYPE");
  if (!forced.starts_with("OpenBLAS")) GTEST_SKIP() << forced;
  EXPECT_THAT(forced, HasSubstr("Nehalem"));
  const std::string target = coppice({"--version"}).out;
  if (target.find("AVX") == std::string::npos) GTEST_SKIP() << target;
  EXPECT_THAT(baseline("OPENBLAS_CORETYPE"), Not(HasSubstr("Nehalem")));
}

}  // namespace
}  // namespace coppice::cli::test
