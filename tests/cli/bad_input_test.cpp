// Bad input: one clear line on stderr, the right exit code, the input untouched, no partial output.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "fixtures.h"
#include "subprocess.h"

namespace coppice::cli::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
namespace fs = std::filesystem;

void expect_one_line(const Result& result, int exit_code, const std::string& part) {
  EXPECT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err_lines(), 1) << result.err;
  EXPECT_THAT(result.err, AllOf(StartsWith("coppice: error: "), HasSubstr(part)));
}

// A directory with a model in it, checked at the end: model untouched, nothing else there.
class BadInput : public ::testing::Test {
 protected:
  void SetUp() override { model_ = make_tiny(dir_ / "model"); }

  fs::path file() const { return fs::path(model_) / "model.safetensors"; }
  std::vector<std::string> prune_args() const {
    return {"prune", model_, "--pattern", "2:4", "-o", dir_ / "out", "--no-time"};
  }
  // All commands that read the model say the same, with exit code 1.
  void expect_refused(const std::string& part) {
    auto before = snapshot(model_);
    expect_one_line(coppice(prune_args()), 1, part);
    expect_one_line(coppice({"inspect", model_}), 1, part);
    expect_one_line(coppice({"pack", model_, "-o", dir_ / "out"}), 1, part);
    expect_one_line(coppice({"verify", model_}), 1, part);
    expect_one_line(coppice({"unpack", model_, "-o", dir_ / "out"}), 1, part);
    EXPECT_EQ(snapshot(model_), before);
    EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{"model"});
  }

  TempDir dir_;
  std::string model_;
};

TEST_F(BadInput, TruncatedFile) {
  truncate(file(), fs::file_size(file()) - 100);
  expect_refused("model.safetensors");
}

TEST_F(BadInput, TruncatedHeader) {
  truncate(file(), 100);
  expect_refused("model.safetensors");
}

TEST_F(BadInput, EmptyFile) {
  truncate(file(), 0);
  expect_refused("model.safetensors");
}

TEST_F(BadInput, OversizedHeader) {
  std::string bytes = read_file(file());
  bytes[5] = 1;  // 2^40 bytes of header
  write_file(file(), bytes);
  expect_refused("header");
}

TEST_F(BadInput, LyingShape) {
  edit_header(file(), [](auto& header) { header["lm_head.weight"]["shape"] = {100, 65}; });
  expect_refused("lm_head.weight");
}

TEST_F(BadInput, OverflowingShape) {
  edit_header(file(), [](auto& header) {
    header["lm_head.weight"]["shape"] = {4611686018427387904, 4};
  });
  expect_refused("lm_head.weight");
}

TEST_F(BadInput, OverlappingTensors) {
  edit_header(file(), [](auto& header) {
    header["model.layers.0.self_attn.q_proj.weight"]["data_offsets"] =
        header["model.layers.0.self_attn.k_proj.weight"]["data_offsets"];
  });
  expect_refused("model.safetensors");
}

TEST_F(BadInput, UnknownDtype) {
  edit_header(file(), [](auto& header) { header["lm_head.weight"]["dtype"] = "Q4_K"; });
  expect_refused("Q4_K");
}

TEST_F(BadInput, NoConfig) {
  fs::remove(fs::path(model_) / "config.json");
  expect_refused("config.json");
}

TEST_F(BadInput, ConfigIsNotJson) {
  write_file(fs::path(model_) / "config.json", "{\"model_type\": ");
  expect_refused("config.json");
}

TEST_F(BadInput, BinCheckpoint) {
  fs::remove(file());
  write_file(fs::path(model_) / "pytorch_model.bin", "PK");
  expect_refused("safetensors");
}

TEST_F(BadInput, MissingShard) {
  fs::remove_all(model_);
  make_tiny(model_, [](auto& spec) { spec.shard_gigabytes = 100e3 / 1e9; });
  fs::path missing;
  for (const auto& entry : fs::directory_iterator(model_))
    if (entry.path().filename().string().starts_with("model-00002")) missing = entry.path();
  ASSERT_FALSE(missing.empty());
  fs::remove(missing);
  expect_refused(missing.filename().string());
}

TEST_F(BadInput, NoSuchDirectory) {
  expect_one_line(coppice({"prune", dir_ / "nothing", "--pattern", "2:4", "-o", dir_ / "out"}), 1,
                  "nothing");
  expect_one_line(coppice({"inspect", dir_ / "nothing"}), 1, "does not exist");
}

TEST_F(BadInput, NanAndInfinityAreNamedAndRefused) {
  constexpr const char* kTensor = "model.layers.1.mlp.down_proj.weight";  // [64, 160]
  for (float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    poke_f32(file(), kTensor, 3 * 160 + 7, value);
    auto before = snapshot(model_);
    for (const auto& args : {prune_args(), {"pack", model_, "-o", dir_ / "out"}}) {
      Result result = coppice(args);
      expect_one_line(result, 1, kTensor);
      EXPECT_THAT(result.err, HasSubstr("row 3, column 7"));
      EXPECT_THAT(result.err, HasSubstr("--allow-nonfinite"));
      EXPECT_THAT(result.err, HasSubstr(std::isnan(value) ? "NaN" : "infinite"));
    }
    EXPECT_EQ(snapshot(model_), before);
    EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{"model"});
    auto args = prune_args();
    args.push_back("--allow-nonfinite");
    EXPECT_EQ(coppice(args).exit_code, 0);
    Result result = coppice({"pack", dir_ / "out", "--allow-nonfinite", "-o", dir_ / "packed"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(coppice({"verify", dir_ / "packed", "--against", dir_ / "out"}).exit_code, 0);
    fs::remove_all(dir_ / "out");
    fs::remove_all(dir_ / "packed");
  }
}

TEST_F(BadInput, OutputIsTheInput) {
  auto before = snapshot(model_);
  for (const std::string& out : {model_, model_ + "/", model_ + "/../model", model_ + "/inside"}) {
    Result result = coppice({"prune", model_, "--pattern", "2:4", "-o", out, "--no-time"});
    expect_one_line(result, 1, "");
  }
  fs::create_directory_symlink(model_, dir_ / "link");
  expect_one_line(coppice({"prune", model_, "--pattern", "2:4", "-o", dir_ / "link"}), 1, "");
  EXPECT_EQ(snapshot(model_), before);
}

TEST_F(BadInput, OutputExists) {
  fs::create_directory(dir_ / "out");
  write_file(dir_ / "out" / "precious", "data");
  expect_one_line(coppice(prune_args()), 1, "exists");
  EXPECT_EQ(names_in(dir_ / "out"), std::vector<std::string>{"precious"});
}

TEST_F(BadInput, OutputHasNoParent) {
  expect_one_line(
      coppice({"prune", model_, "--pattern", "2:4", "-o", dir_ / "no" / "out", "--no-time"}), 1,
      "no");
}

TEST_F(BadInput, QuantisedByOthers) {
  auto config = nlohmann::json::parse(read_file(model_ + "/config.json"));
  config["quantization_config"] = {{"quant_method", "fp8"}};
  write_file(model_ + "/config.json", config.dump());
  std::vector<std::string> pack = prune_args();
  pack.emplace_back("--pack");
  expect_one_line(coppice(pack), 1, "quantised by fp8");
  Result result = coppice(prune_args());
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("quantised by fp8"));
}

TEST_F(BadInput, GlobThatMatchesNothing) {
  auto args = prune_args();
  args.insert(args.end(), {"--exclude", "*typo*"});
  expect_one_line(coppice(args), 1, "typo");
  args = prune_args();
  args.insert(args.end(), {"--pattern-for", "*typo*=2:4"});
  expect_one_line(coppice(args), 1, "typo");
}

TEST_F(BadInput, EmbeddingsCannotBeChosen) {
  auto args = prune_args();
  args.insert(args.end(), {"--include", "model.embed_tokens.weight"});
  expect_one_line(coppice(args), 1, "model.embed_tokens.weight");
}

TEST_F(BadInput, NothingToPackUnpackOrVerify) {
  expect_one_line(coppice({"pack", model_, "-o", dir_ / "out"}), 1, "prune");
  expect_one_line(coppice({"unpack", model_, "-o", dir_ / "out"}), 1, "not packed");
  expect_one_line(coppice({"verify", model_}), 1, "nothing to verify");
  EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{"model"});
}

TEST_F(BadInput, PackedWhereDenseIsNeeded) {
  ASSERT_EQ(coppice(prune_args()).exit_code, 0);
  ASSERT_EQ(coppice({"pack", dir_ / "out", "-o", dir_ / "packed"}).exit_code, 0);
  expect_one_line(coppice({"pack", dir_ / "packed", "-o", dir_ / "again"}), 1, "packed already");
  expect_one_line(coppice({"prune", dir_ / "packed", "--pattern", "2:4", "-o", dir_ / "again"}), 1,
                  "unpack");
}

TEST_F(BadInput, DamagedPackedCheckpoint) {
  ASSERT_EQ(
      coppice({"prune", model_, "--pattern", "64:2:8", "-o", dir_ / "out", "--no-time"}).exit_code,
      0);
  ASSERT_EQ(coppice({"pack", dir_ / "out", "-o", dir_ / "packed"}).exit_code, 0);
  // Four equal columns in a group: not ascending.
  poke_f32(dir_ / "packed" / "model.safetensors", "model.layers.0.self_attn.q_proj.weight.columns",
           0, 0.0f);
  Result verify = coppice({"verify", dir_ / "packed"});
  EXPECT_EQ(verify.exit_code, 1);
  EXPECT_THAT(verify.out, HasSubstr("FAILED"));
  expect_one_line(coppice({"unpack", dir_ / "packed", "-o", dir_ / "back"}), 1,
                  "model.layers.0.self_attn.q_proj.weight");
  EXPECT_FALSE(fs::exists(dir_ / "back"));
}

TEST_F(BadInput, NoSpaceLeft) {
  RunOptions small;
  small.max_file_bytes = 100'000;
  auto before = snapshot(model_);
  Result result = coppice(prune_args(), small);
  expect_one_line(result, 1, "");
  EXPECT_EQ(snapshot(model_), before);
  EXPECT_EQ(names_in(dir_.path()), std::vector<std::string>{"model"});
}

TEST_F(BadInput, StdoutIsFull) {
  RunOptions full;
  full.stdout_path = "/dev/full";
  for (const auto& args : {std::vector<std::string>{"inspect", model_},
                           {"explain", "2:4", "--json"},
                           {"--help"},
                           {"--version"}}) {
    Result result = coppice(args, full);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("No space left on device"));
  }
}

TEST_F(BadInput, ClosedStandardStreamsDoNotReachTheOutput) {
  RunOptions closed;
  closed.close_streams = true;
  EXPECT_EQ(coppice(prune_args(), closed).exit_code, 1);  // the table cannot be printed
  const auto verify = coppice({"verify", dir_ / "out", "--against", model_});
  EXPECT_EQ(verify.exit_code, 0) << verify.err;
}

TEST(Usage, UnknownPatternShowsTheGrammar) {
  for (const auto& args : {std::vector<std::string>{"prune", "x", "--pattern", "2of4", "-o", "y"},
                           {"pack", "x", "--pattern", "2of4", "-o", "y"},
                           {"inspect", "x", "--pattern", "2of4"},
                           {"verify", "x", "--pattern", "2of4"},
                           {"bench", "--pattern", "2:4,2of4"},
                           {"inspect", "2:of4"},
                           {"explain", "2of4"}}) {
    Result result = coppice(args);
    expect_one_line(result, 2, "of4");
    EXPECT_THAT(result.err, HasSubstr("vwL/N:M"));
  }
}

TEST(Usage, WhatIsNotUnderstoodIsNamed) {
  expect_one_line(coppice({"frobnicate"}), 2, "'frobnicate'");
  expect_one_line(coppice({"prune", "x", "--patern", "2:4", "-o", "y"}), 2, "'--patern'");
  expect_one_line(coppice({"inspect", "a", "b"}), 2, "'b'");
}

TEST(Usage, RangesAreShort) {
  Result result =
      coppice({"prune", "x", "--pattern", "2:4", "-o", "y", "--permute", "--permute-time", "-1"});
  expect_one_line(result, 2, "--permute-time: '-1' is not a number from 0 to 1e+09");
}

TEST(Usage, MistakesGetExitCodeTwo) {
  for (const auto& args : {std::vector<std::string>{},
                           {"frobnicate"},
                           {"prune"},
                           {"prune", "x", "-o", "y"},
                           {"prune", "x", "--pattern", "2:4"},
                           {"prune", "x", "--pattern", "2:4", "-o", "y", "--method", "luck"},
                           {"prune", "x", "--pattern", "2:4", "-o", "y", "--threads", "0"},
                           {"prune", "x", "--pattern", "2:4", "-o", "y", "--time", "0"},
                           {"prune", "x", "--pattern", "2:4", "-o", "y", "--nonsense"},
                           {"prune", "x", "--speedup", "nan", "--speeds", "s", "-o", "y"},
                           {"prune", "x", "--pattern", "2:4", "-o", "y", "--memory", "nan"},
                           {"prune", "x", "--pattern", "2:4", "-o", "y", "--memory", "1e300"},
                           {"prune", "x", "--pattern", "2:4", "-o", "y", "--damping", "nan"},
                           {"plan", "x", "--speedup", "nan"},
                           {"verify", "x", "--device", "tpu"},
                           {"bench", "--shape", "12"},
                           {"bench", "--dtype", "f64"},
                           {"inspect", "a", "b"}}) {
    Result result = coppice(args);
    expect_one_line(result, 2, "");
  }
}

}  // namespace
}  // namespace coppice::cli::test
