// Times mask selection on random normal weights.
//
//   prune_bench [rows] [cols] [threads] [pattern...]
//
// Prints, per pattern and kind of column search: the best of several runs, weights as fp32 bytes
// per second, the share of the score that is kept, and the blocks not proven to be best.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "coppice/prune.h"

namespace {

struct Search {
  const char* name;
  coppice::ColumnSearch value;
};

void report(const coppice::DenseView& weights, const std::string& pattern, const Search& search,
            int threads) {
  using Clock = std::chrono::steady_clock;
  const coppice::MaskOptions options{.columns = search.value, .threads = threads};
  double best = 1e30, spent = 0;
  coppice::MaskResult result;
  for (int run = 0; run < 3 || (spent < 1 && run < 20); ++run) {
    const auto start = Clock::now();
    result = coppice::magnitude_mask(weights, coppice::Pattern::parse(pattern), options);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    spent += seconds;
  }
  const double bytes = 4.0 * static_cast<double>(weights.rows * weights.cols);
  fmt::print("{:<12} {:<8} {:>10.2f} {:>10.0f} {:>10.5f} {:>9}/{}\n", pattern, search.name,
             best * 1e3, bytes / best / 1e6, result.kept_score / result.total_score,
             result.unproven_blocks, result.blocks);
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t rows = argc > 1 ? std::atoll(argv[1]) : 4096;
  const std::int64_t cols = argc > 2 ? std::atoll(argv[2]) : 4096;
  const int threads = argc > 3 ? std::atoi(argv[3]) : 2;
  std::vector<std::string> patterns(argv + std::min(argc, 4), argv + argc);
  if (patterns.empty())
    patterns = {"2:4",        "4:8",          "2:8",    "8:32",    "16:32",   "vw32/8:32",
                "bw4x4/8:32", "bw32x32/8:32", "64:2:8", "64:2:16", "64:2:32", "64:2:64"};

  std::vector<float> data(static_cast<std::size_t>(rows * cols));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::ranges::generate(data, [&] { return normal(random); });
  const coppice::DenseView weights = coppice::dense_view(data, rows, cols);

  fmt::print("{} x {}, {} threads\n{:<12} {:<8} {:>10} {:>10} {:>10} {:>10}\n", rows, cols, threads,
             "pattern", "columns", "ms", "MB/s", "kept", "unproven");
  for (const std::string& pattern : patterns) {
    report(weights, pattern, {"auto", coppice::ColumnSearch::automatic}, threads);
    if (!coppice::Pattern::parse(pattern).has_inner()) continue;
    report(weights, pattern, {"swaps", coppice::ColumnSearch::swaps}, threads);
    report(weights, pattern, {"greedy", coppice::ColumnSearch::greedy}, threads);
  }
}
