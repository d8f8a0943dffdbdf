// Writes random statistics for a checkpoint's linear weights: for scripts/memory_check.sh.
//
//   make_statistics MODEL_DIR OUT [--held-out] [--samples 64]
//
// Weights of one block with as many columns share an input. One Gram matrix is held at a time.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <map>
#include <random>

#include "coppice/checkpoint.h"
#include "coppice/statistics.h"

namespace {

struct Options {
  std::string model, out;
  bool held_out = false;
  std::int64_t samples = 64;
  int threads = 2;
};

// Correlated inputs: neighbours have a part in common.
coppice::InputStatistics random_statistics(std::int64_t cols, const Options& options,
                                           std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(options.samples * cols));
  float last = 0;
  for (float& value : x) value = last = 0.9f * last + normal(random);
  coppice::GramAccumulator sums(cols, options.threads);
  sums.add({x.data(), options.samples, cols});
  return sums.statistics();
}

void run(const Options& options) {
  const auto checkpoint = coppice::Checkpoint::open(options.model);
  coppice::StatisticsContents contents;
  if (options.held_out) contents.set = coppice::StatisticsSet::held_out;
  std::map<std::string, std::int64_t> inputs;
  for (const auto& weight : checkpoint.linear_weights()) {
    const std::string block = weight.name.substr(0, weight.name.rfind('.', weight.name.size() - 8));
    const std::string input = fmt::format("{}.in{}", block, weight.shape.cols);
    contents.weights[weight.name] = input;
    inputs[input] = weight.shape.cols;
  }
  for (const auto& [name, cols] : inputs)
    contents.inputs.push_back({name, cols, options.samples, true});
  coppice::StatisticsWriter writer(options.out, contents);
  std::mt19937 random(options.held_out ? 2 : 1);
  for (const auto& [name, cols] : inputs)
    writer.add(name, random_statistics(cols, options, random));
  writer.commit();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Writes random statistics for a checkpoint");
  app.add_option("model", options.model)->required();
  app.add_option("out", options.out)->required();
  app.add_flag("--held-out", options.held_out);
  app.add_option("--samples", options.samples)->check(CLI::PositiveNumber);
  app.add_option("--threads", options.threads)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "make_statistics: {}\n", error.what());
    return 1;
  }
  return 0;
}
