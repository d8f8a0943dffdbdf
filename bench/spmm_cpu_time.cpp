// Processor time of products on one thread, beside the dense library's, for machines that other
// work keeps busy.
//
//   spmm_cpu_time --tokens 256 --layout feature 2:4 64:2:8
//   spmm_cpu_time --no-dense --family both --tokens 8,16,32,64,128 2:4
//
// Calls of all kernels and of the dense product take turns, so that all of them see the same
// neighbours; the least time of each counts. The processor's clock is measured beside them with a
// chain of dependent multiplications: multiply-adds per cycle compare with what its ports allow.
#include <fmt/format.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/baseline.h"
#include "bench/random_weight.h"
#include "bench/timing.h"
#include "coppice/linear.h"
#include "cpu/few_tokens.h"
#include "cpu/many_tokens.h"
#include "cpu/packed_weight.h"

namespace coppice::bench {
namespace {

struct Options {
  std::string dtype = "F32", layout = "feature", family = "auto";
  std::int64_t rows = 4096, cols = 4096;
  std::vector<std::int64_t> tokens = {256};
  int rounds = 12;
  bool no_dense = false;
  std::vector<std::string> patterns;
};

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Cycles per second: integer multiplications that wait for each other take three cycles each on
// every x86-64 and AArch64 core that matters here.
double clock_rate() {
  constexpr int kSteps = 2'000'000;
  std::uint64_t value = 3;
  const double start = cpu_seconds();
  for (int i = 0; i < kSteps; ++i) {
    value *= 0x9e3779b97f4a7c15u;
    asm volatile("" : "+r"(value));
  }
  return 3.0 * kSteps / (cpu_seconds() - start);
}

// Something to time, and its samples.
struct Contender {
  std::string name;
  std::function<void()> call;
  double multiply_adds = 0;
  std::vector<double> seconds;
};

struct Operands {
  std::vector<float> x_data, y_data;
  Activations x;
  MutableActivations y;

  Operands(const Options& options, std::int64_t tokens)
      : x_data(static_cast<std::size_t>(options.cols * tokens)),
        y_data(static_cast<std::size_t>(options.rows * tokens)) {
    fill_normal(x_data, 7);
    const Layout layout = options.layout == "feature" ? Layout::feature_major : Layout::token_major;
    x = {x_data.data(), tokens, options.cols, layout, 0};
    y = {y_data.data(), tokens, options.rows, layout, 0};
  }
};

class Run {
 public:
  Run(const Options& options, std::int64_t tokens, Baseline* dense)
      : options_(options), operands_(options, tokens) {
    const Dtype dtype = *parse_dtype(options.dtype);
    for (const std::string& name : options.patterns) {
      const SparseMatrix weight =
          random_weight(Pattern::parse(name), options.rows, options.cols, dtype, 3);
      kept_.push_back(weight.grid->kept());
      packed_.push_back(std::make_unique<cpu::PackedWeight>(weight.view(), 1));
    }
    if (dense != nullptr) {
      dense_.resize(static_cast<std::size_t>(options.rows * options.cols));
      fill_normal(dense_, 1);
      add("dense", options.cols,
          [this, dense] { dense->multiply(dense_.data(), operands_.x, operands_.y, 1); });
    }
    for (std::size_t i = 0; i < packed_.size(); ++i) add_products(i);
  }

  void measure() {
    for (int round = 0; round <= options_.rounds; ++round) {
      for (Contender& contender : contenders_) {
        const double start = cpu_seconds();
        contender.call();
        if (round > 0) contender.seconds.push_back(cpu_seconds() - start);
      }
      clocks_.push_back(clock_rate());
    }
  }

  void print() const {
    const double clock = *std::ranges::max_element(clocks_);
    const double dense =
        dense_.empty() ? 0 : *std::ranges::min_element(contenders_.front().seconds);
    for (const Contender& contender : contenders_) {
      const double least = *std::ranges::min_element(contender.seconds);
      // Of 16 tokens each: what a register of 512 bits holds.
      const double vectors = contender.multiply_adds / 16;
      fmt::print("{},{},{},{},{:.3f},{:.3f},{:.2f},{:.3f},{:.2f}\n", contender.name, options_.dtype,
                 options_.layout, operands_.x.tokens, least * 1e3, median(contender.seconds) * 1e3,
                 dense / least, vectors / least / clock, clock * 1e-9);
    }
    std::fflush(stdout);
  }

 private:
  void add(const std::string& name, std::int64_t kept, std::function<void()> call) {
    const auto work = static_cast<double>(options_.rows * operands_.x.tokens * kept);
    contenders_.push_back({name, std::move(call), work, {}});
  }

  void add_products(std::size_t i) {
    const cpu::PackedWeight& weight = *packed_[i];
    const std::string& name = options_.patterns[i];
    if (options_.family == "auto")
      add(name, kept_[i],
          [this, &weight] { cpu::multiply(weight, operands_.x, operands_.y, {}, 1); });
    if (options_.family == "few" || options_.family == "both")
      add(name + " few", kept_[i], [this, &weight] {
        cpu::few_tokens_multiply(weight.impl(), operands_.x, operands_.y, {}, 1);
      });
    if (options_.family == "many" || options_.family == "both")
      add(name + " many", kept_[i], [this, &weight] {
        cpu::many_tokens_multiply(weight.impl(), operands_.x, operands_.y, {}, 1);
      });
  }

  const Options& options_;
  Operands operands_;
  std::vector<std::int64_t> kept_;
  std::vector<std::unique_ptr<cpu::PackedWeight>> packed_;
  std::vector<float> dense_;
  std::vector<Contender> contenders_;
  std::vector<double> clocks_;
};

int run_all(int argc, char** argv) {
  Options options;
  CLI::App app("Processor time of products on one thread, least and median of several calls");
  app.add_option("--dtype", options.dtype)->check(CLI::IsMember({"F32", "F16", "BF16"}));
  app.add_option("--layout", options.layout)->check(CLI::IsMember({"feature", "token"}));
  app.add_option("--family", options.family, "which kernels; auto: what the selection takes")
      ->check(CLI::IsMember({"auto", "few", "many", "both"}));
  app.add_option("--rows", options.rows)->check(CLI::PositiveNumber);
  app.add_option("--cols", options.cols)->check(CLI::PositiveNumber);
  app.add_option("--tokens", options.tokens)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::PositiveNumber);
  app.add_option("--rounds", options.rounds, "calls of each")->check(CLI::PositiveNumber);
  app.add_flag("--no-dense", options.no_dense, "leave the dense library out");
  app.add_option("patterns", options.patterns)->required();
  CLI11_PARSE(app, argc, argv);
  std::unique_ptr<Baseline> dense;
  std::string why_not;
  if (!options.no_dense && (dense = Baseline::load(&why_not)) == nullptr)
    fmt::print(stderr, "no dense product: {}\n", why_not);
  fmt::print(
      "pattern,dtype,layout,tokens,cpu_ms_min,cpu_ms_median,ratio,vector_fma_per_cycle,"
      "ghz\n");
  for (const std::int64_t tokens : options.tokens) {
    Run run(options, tokens, dense.get());
    run.measure();
    run.print();
  }
  return 0;
}

}  // namespace
}  // namespace coppice::bench

int main(int argc, char** argv) {
  try {
    return coppice::bench::run_all(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "spmm_cpu_time: {}\n", error.what());
    return 1;
  }
}
