// --device: the same files from a GPU as from the CPU; one clear error where there is none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <limits>

#include "fixtures.h"
#include "statistics_fixture.h"
#include "subprocess.h"

namespace coppice::cli::test {
namespace {

using ::testing::HasSubstr;

bool has_gpu() {
  static const bool found = coppice({"--version"}).out.find("usable GPU(s)") != std::string::npos;
  return found;
}

#define COPPICE_NEEDS_GPU()                                                       \
  if (!has_gpu()) {                                                               \
    if (std::getenv("COPPICE_REQUIRE_GPU") != nullptr) FAIL() << "no usable GPU"; \
    GTEST_SKIP() << "no usable GPU";                                              \
  }                                                                               \
  static_assert(true)

std::string make_half(const std::filesystem::path& directory) {
  return make_tiny(directory, [](auto& spec) { spec.dtype = "BF16"; });
}

TEST(Gpu, IsMissedByOneClearError) {
  if (has_gpu()) GTEST_SKIP() << "there is one";
  TempDir dir;
  std::string model = make_tiny(dir / "model");
  for (const auto& args :
       {std::vector<std::string>{"verify", model, "--device", "cuda"},
        {"prune", model, "--pattern", "2:4", "-o", dir / "out", "--device", "cuda"},
        {"pack", model, "-o", dir / "out", "--device", "cuda"},
        {"bench", "--device", "cuda"}}) {
    Result result = coppice(args);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.err_lines(), 1) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, HasSubstr("--device cpu"));
  }
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"model"});
}

TEST(Gpu, UsageMistakesComeFirst) {
  for (const auto& args : {std::vector<std::string>{"bench", "--device", "cuda", "--dtype", "f64"},
                           {"bench", "--device", "cuda", "--layout", "diagonal"},
                           {"bench", "--device", "cuda", "--pattern", "2of4"},
                           {"bench", "--device", "tpu"},
                           {"bench", "--tune"},
                           {"bench", "--kernel", "all", "--device", "cpu"},
                           {"bench", "--grid", "nmsparse"},
                           {"bench", "--device", "cuda", "--grid", "spatha"},
                           {"bench", "--device", "cuda", "--grid", "nmsparse", "--pattern", "2:4"},
                           {"bench", "--device", "cuda", "--grid", "nmsparse", "--shape", "8x8"},
                           {"bench", "--device", "cuda", "--grid", "nmsparse", "--dtype", "f8"},
                           {"bench", "--device", "cuda", "--resume"},
                           {"bench", "--device", "cuda", "--resume", "--csv", "x", "--tune"},
                           {"bench", "--resume", "--csv", "x"},
                           {"pack", "x", "-o", "y", "--device", "tpu"}}) {
    Result result = coppice(args);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_EQ(result.err_lines(), 1) << result.err;
  }
}

TEST(Gpu, AutoIsTheCpuWithoutOne) {
  if (has_gpu()) GTEST_SKIP() << "there is one";
  TempDir dir;
  std::string model = make_tiny(dir / "model");
  Result result = coppice(
      {"prune", model, "--pattern", "2:4", "-o", dir / "out", "--device", "auto", "--no-time"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
}

TEST(Gpu, WritesTheFilesThatTheCpuWrites) {
  COPPICE_NEEDS_GPU();
  TempDir dir;
  for (bool half : {false, true})
    for (const char* pattern : {"2:4", "4:8", "64:2:8", "16:2:40", "vw8/2:8"}) {
      const std::string at = std::string(half ? "h" : "f") + pattern;
      std::string name = at;
      for (char& c : name)
        if (c == ':' || c == '/') c = '-';
      const auto model =
          half ? make_half(dir / (name + "-model")) : make_tiny(dir / (name + "-model"));
      std::map<std::string, std::map<std::string, std::string>> written;
      for (const char* device : {"cpu", "cuda"}) {
        const std::string pruned = dir / (name + "-pruned-" + device);
        const std::string packed = dir / (name + "-packed-" + device);
        Result prune = coppice(
            {"prune", model, "--pattern", pattern, "-o", pruned, "--no-time", "--device", device});
        EXPECT_EQ(prune.exit_code, 0) << at << ": " << prune.err;
        Result pack =
            coppice({"pack", pruned, "--pattern", pattern, "-o", packed, "--device", device});
        EXPECT_EQ(pack.exit_code, 0) << at << ": " << pack.err;
        written[device] = snapshot(pruned);
        for (auto& [file, print] : snapshot(packed)) written[device]["packed " + file] = print;
      }
      EXPECT_EQ(written["cpu"], written["cuda"]) << at;
    }
}

TEST(Gpu, VerifiesProducts) {
  COPPICE_NEEDS_GPU();
  TempDir dir;
  std::string model = make_half(dir / "model"), pruned = dir / "pruned", packed = dir / "packed";
  ASSERT_EQ(coppice({"prune", model, "--pattern", "64:2:8", "-o", pruned, "--no-time"}).exit_code,
            0);
  ASSERT_EQ(coppice({"pack", pruned, "-o", packed}).exit_code, 0);
  for (const std::string& checked : {pruned, packed}) {
    Result result = coppice({"verify", checked, "--device", "cuda", "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err << result.out;
    int products = 0;
    const auto json = result.json();
    for (const auto& layer : json["layers"])
      for (const auto& product : layer["products"]) products += product["backend"] == "cuda";
    EXPECT_EQ(products, 4 * static_cast<int>(json["layers"].size()));
  }
}

TEST(Gpu, RefusesWhatTheCpuRefuses) {
  COPPICE_NEEDS_GPU();
  TempDir dir;
  std::string model = make_tiny(dir / "model");
  poke_f32(dir / "model" / "model.safetensors", "model.layers.1.mlp.down_proj.weight", 5,
           std::numeric_limits<float>::quiet_NaN());
  std::map<std::string, std::string> said;
  for (const char* device : {"cpu", "cuda"}) {
    Result result = coppice(
        {"prune", model, "--pattern", "2:4", "-o", dir / "out", "--no-time", "--device", device});
    EXPECT_EQ(result.exit_code, 1);
    said[device] = result.err;
  }
  EXPECT_EQ(said["cpu"], said["cuda"]);
}

TEST(Gpu, BenchWritesCsvAndJson) {
  COPPICE_NEEDS_GPU();
  TempDir dir;
  const std::string csv = dir / "out.csv";
  Result result = coppice({"bench", "--device", "cuda", "--pattern", "2:4,64:2:8", "--shape",
                           "256x512", "--tokens", "64", "--dtype", "f16,bf16", "--layout",
                           "token,feature", "--csv", csv, "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  auto json = result.json();
  EXPECT_EQ(json["results"].size(), 8u);
  for (const auto& row : json["results"]) {
    EXPECT_EQ(row["check"], "ok") << row.dump();
    EXPECT_GT(row["us"], 0);
    EXPECT_GT(row["bound_fraction"], 0);
    EXPECT_EQ(row["gpu"], json["gpu"]);
  }
  std::ifstream lines(csv);
  int count = 0;
  for (std::string line; std::getline(lines, line);) ++count;
  EXPECT_EQ(count, 9);
  Result refused = coppice({"bench", "--device", "cuda", "--pattern", "64:3/6:8"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.err_lines(), 1) << refused.err;
}

TEST(Gpu, BenchGoesThroughAGridAndGoesOnWithIt) {
  COPPICE_NEEDS_GPU();
  TempDir dir;
  const std::string csv = dir / "grid.csv", shapes = dir / "shapes.csv";
  testing::write_file(shapes, "nmsparse,S1,1,1024,256\nnmsparse,S2,64,1024,256\n");
  const std::vector<std::string> command = {"bench", "--device", "cuda",     "--grid", "nmsparse",
                                            "--csv", csv,        "--shapes", shapes,   "--resume"};
  std::vector<std::string> half = command;
  half.insert(half.end(), {"--dtype", "f16"});
  Result result = coppice(half);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto lines_of = [&] {
    std::ifstream in(csv);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  };
  const auto first = lines_of();
  EXPECT_EQ(first.size(), 1u + 2 * 3 * 6);
  result = coppice(command);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("36 of 72 products"));
  const auto all = lines_of();
  ASSERT_EQ(all.size(), 1u + 2 * 3 * 6 * 2);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), all.begin())) << "lines are kept as they are";
}

TEST(Gpu, BenchReportsBandwidthOfFewTokensAndLeavesOutWhatCannotRun) {
  COPPICE_NEEDS_GPU();
  Result result = coppice({"bench", "--device", "cuda", "--pattern", "64:2:8,64:3/6:8", "--shape",
                           "1000x520", "--tokens", "1,7", "--no-baseline", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("64:3/6:8"));
  EXPECT_EQ(result.err_lines(), 1) << result.err;
  auto json = result.json();
  EXPECT_EQ(json["results"].size(), 2u);
  for (const auto& row : json["results"]) {
    EXPECT_EQ(row["check"], "ok") << row.dump();
    EXPECT_GT(row["stream_tb_s"], 0);
    EXPECT_GT(row["stream_fraction"], 0);
    EXPECT_LT(row["stream_fraction"], 1);
    EXPECT_GT(row["moved_bytes"], row["own_bytes"]);
    EXPECT_GE(row["packed_bytes"], row["own_bytes"]);
  }
}

class GpuUpdate : public PruneWithStatistics {
 protected:
  std::vector<double> errors(const std::string& method, const std::string& device) const {
    const Result result = prune(
        {"--method", method, "--stats", (dir / "stats").string(), "--device", device, "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::filesystem::remove_all(out());
    std::vector<double> errors;
    const nlohmann::json layers = result.json()["layers"];
    for (const auto& layer : layers) errors.push_back(layer["error"]);
    return errors;
  }
};

// Compensated weights are not the CPU's bits, so only a GPU that was asked for changes them.
TEST_F(GpuUpdate, PrunesAsWellAsTheCpu) {
  COPPICE_NEEDS_GPU();
  write_statistics(model, dir / "stats");
  for (const char* method : {"obs", "admm"}) {
    const std::vector<double> cpu = errors(method, "cpu"), gpu = errors(method, "cuda");
    ASSERT_EQ(cpu.size(), gpu.size());
    for (std::size_t i = 0; i < cpu.size(); ++i) EXPECT_NEAR(gpu[i], cpu[i], 0.01 * cpu[i]);
    EXPECT_EQ(errors(method, "cuda"), gpu) << method;
    EXPECT_EQ(errors(method, "auto"), cpu) << method;
  }
}

}  // namespace
}  // namespace coppice::cli::test
