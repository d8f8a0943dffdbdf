// Times mask selection, and says what share of the scores it keeps.
//
//   prune_bench [--threads T] [--shape ROWSxCOLS | --model DIR] [pattern...]
//
// On random normal weights (4096x4096), or on all linear weights of a checkpoint. Prints, per
// pattern and kind of column search: the best of several runs, weights as fp32 bytes per second,
// the share of the magnitude that is kept, and the V:N:M blocks not proven to be the best.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "coppice/checkpoint.h"
#include "coppice/error.h"
#include "coppice/prune.h"

namespace {

using coppice::ColumnSearch;

// The matrices to prune, and what keeps them in memory.
struct Weights {
  std::vector<float> random;
  std::optional<coppice::Checkpoint> checkpoint;
  std::vector<coppice::WeightData> data;
  std::vector<coppice::DenseView> views;
};

Weights random_weights(const std::string& shape) {
  long long rows = 0, cols = 0;
  if (std::sscanf(shape.c_str(), "%lldx%lld", &rows, &cols) != 2 || rows < 0 || cols < 0)
    throw coppice::InvalidArgument("--shape is '" + shape + "', needs ROWSxCOLS such as 4096x4096");
  Weights weights;
  weights.random.resize(static_cast<std::size_t>(rows * cols));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::ranges::generate(weights.random, [&] { return normal(random); });
  weights.views.push_back(coppice::dense_view(weights.random, rows, cols));
  return weights;
}

Weights model_weights(const std::string& directory) {
  Weights weights;
  weights.checkpoint = coppice::Checkpoint::open(directory);
  for (const coppice::LinearWeight& weight : weights.checkpoint->linear_weights()) {
    weights.data.push_back(weights.checkpoint->read(weight));
    weights.views.push_back(weights.data.back().view());
  }
  return weights;
}

struct Totals {
  double elements = 0, score = 0, kept = 0;
  std::int64_t blocks = 0, unproven = 0;
};

Totals select_all(const Weights& weights, const coppice::Pattern& pattern,
                  const coppice::MaskOptions& options) {
  Totals totals;
  for (const coppice::DenseView& view : weights.views) {
    const coppice::MaskResult result = coppice::magnitude_mask(view, pattern, options);
    totals.elements += static_cast<double>(view.rows * view.cols);
    totals.score += result.total_score;
    totals.kept += result.kept_score;
    totals.blocks += result.blocks;
    totals.unproven += result.unproven_blocks;
  }
  return totals;
}

void report(const Weights& weights, const std::string& pattern, const char* name,
            ColumnSearch search, int threads) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30, spent = 0;
  Totals totals;
  for (int run = 0; run < 3 || (spent < 0.5 && run < 20); ++run) {
    const auto start = Clock::now();
    totals = select_all(weights, coppice::Pattern::parse(pattern),
                        {.columns = search, .threads = threads});
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    spent += seconds;
  }
  const std::string unproven = fmt::format("{}/{}", totals.unproven, totals.blocks);
  fmt::print("{:<12} {:<7} {:>9.2f} {:>7.0f} {:>8.6f} {:>13}\n", pattern, name, best * 1e3,
             4 * totals.elements / best / 1e6, totals.kept / totals.score,
             totals.blocks == 0 ? "" : unproven);
}

void run(const std::vector<std::string>& patterns, const Weights& weights, int threads) {
  fmt::print("{:<12} {:<7} {:>9} {:>7} {:>8} {:>13}\n", "pattern", "columns", "ms", "MB/s", "kept",
             "unproven");
  for (const std::string& pattern : patterns) {
    if (!coppice::Pattern::parse(pattern).has_inner()) {
      report(weights, pattern, "", ColumnSearch::automatic, threads);
      continue;
    }
    report(weights, pattern, "greedy", ColumnSearch::greedy, threads);
    report(weights, pattern, "swaps", ColumnSearch::swaps, threads);
    report(weights, pattern, "exact", ColumnSearch::exact, threads);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times mask selection");
  int threads = 2;
  std::string shape = "4096x4096", model;
  std::vector<std::string> patterns = {"2:4",    "4:8",       "2:8",        "8:32",
                                       "16:32",  "vw32/8:32", "bw4x4/8:32", "bw32x32/8:32",
                                       "64:2:8", "64:2:16",   "64:2:32",    "64:2:64"};
  app.add_option("--threads", threads);
  app.add_option("--shape", shape);
  app.add_option("--model", model, "a checkpoint directory");
  app.add_option("patterns", patterns);
  CLI11_PARSE(app, argc, argv);
  try {
    run(patterns, model.empty() ? random_weights(shape) : model_weights(model), threads);
  } catch (const std::exception& error) {
    fmt::print(stderr, "prune_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
