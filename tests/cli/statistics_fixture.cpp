#include "statistics_fixture.h"

#include <gmock/gmock.h>

#include <map>
#include <random>

#include "prune/random_statistics.h"

namespace coppice::cli::test {
namespace {

std::string input_of(const std::string& weight) {
  std::string name = weight.substr(0, weight.rfind('.'));
  for (const char* shared : {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"})
    if (const auto at = name.find(shared); at != std::string::npos)
      return name.substr(0, at) + (name.find("mlp") == std::string::npos ? "qkv" : "gate_up");
  return name;
}

InputStatistics random_input(std::int64_t cols, const StatisticsSpec& spec, std::mt19937& random) {
  std::vector<float> x = coppice::testing::random_activations(spec.samples, cols, random);
  for (std::int64_t sample = 0; sample < spec.samples; ++sample)
    std::fill_n(x.begin() + sample * cols, spec.dead, 0.0f);
  InputStatistics statistics = coppice::testing::reference_statistics(x, cols);
  if (!spec.gram) statistics.gram.clear();
  return statistics;
}

FisherStatistics random_fisher(const LinearWeight& weight, std::int64_t block,
                               std::mt19937& random) {
  constexpr std::int64_t kSamples = 30;
  const std::int64_t rows = weight.shape.rows, cols = weight.shape.cols,
                     per_row = (cols + block - 1) / block;
  FisherStatistics fisher{
      rows * per_row, block, kSamples,
      std::vector<double>(static_cast<std::size_t>(rows * per_row * block * block))};
  for (std::int64_t b = 0; b < fisher.blocks; ++b) {
    const std::int64_t used = std::min(block, cols - b % per_row * block);
    const std::vector<float> g = coppice::testing::random_activations(kSamples, used, random);
    const InputStatistics sums = coppice::testing::reference_statistics(g, used);
    for (std::int64_t i = 0; i < used; ++i)
      for (std::int64_t j = 0; j < used; ++j)
        fisher.sums[static_cast<std::size_t>((b * block + i) * block + j)] =
            sums.gram[static_cast<std::size_t>(i * used + j)];
  }
  return fisher;
}

}  // namespace

std::string write_statistics(const std::string& model, const std::filesystem::path& path,
                             const StatisticsSpec& spec) {
  std::mt19937 random(spec.seed);
  StatisticsContents contents{spec.set, {}, {}, {}};
  std::map<std::string, InputStatistics> inputs;
  std::map<std::string, FisherStatistics> gradients;
  for (const LinearWeight& weight : Checkpoint::open(model).linear_weights()) {
    if (weight.name == spec.without) continue;
    const std::string input = input_of(weight.name);
    contents.weights[weight.name] = input;
    if (spec.fisher > 0) {
      FisherStatistics& fisher = gradients[weight.name] =
          random_fisher(weight, spec.fisher, random);
      contents.fisher.push_back({weight.name, fisher.blocks, fisher.block, fisher.samples});
    }
    if (inputs.contains(input)) continue;
    inputs[input] = random_input(weight.shape.cols, spec, random);
    contents.inputs.push_back({input, weight.shape.cols, spec.samples, spec.gram});
  }
  StatisticsWriter writer(path, contents);
  for (const auto& [name, statistics] : inputs) writer.add(name, statistics);
  for (const auto& [name, fisher] : gradients) writer.add_fisher(name, fisher);
  writer.commit();
  return path.string();
}

std::vector<float> values(const WeightData& data) {
  std::vector<float> out(static_cast<std::size_t>(data.view().rows * data.view().cols));
  to_float(data.view().dtype, data.view().data, out);
  return out;
}

Result PruneWithStatistics::prune(const std::vector<std::string>& options) const {
  std::vector<std::string> args = {"prune", model, "--pattern", "2:4", "--no-time",
                                   "-o",    out(), "--threads", "2"};
  args.insert(args.end(), options.begin(), options.end());
  return coppice(args);
}

void PruneWithStatistics::expect_failure(const std::vector<std::string>& options, int code,
                                         const char* text) const {
  const Result result = prune(options);
  EXPECT_EQ(result.exit_code, code);
  EXPECT_THAT(result.err, ::testing::HasSubstr(text));
  EXPECT_EQ(result.err_lines(), 1);
  EXPECT_FALSE(std::filesystem::exists(out()));
}

}  // namespace coppice::cli::test
