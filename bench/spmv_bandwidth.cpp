// How close a product by one token comes to the machine's streaming-read bandwidth.
//
//   spmv_bandwidth --dtype bf16 --threads 2 2:4 4:8 64:2:8
//
// The bandwidth of a virtual machine changes from one second to the next with its neighbours, so a
// product and a plain read of the same bytes take turns, and their medians are compared. What
// counts are the own bytes of the canonical form; extra bytes that the packed layout reads do not.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "bench/bandwidth.h"
#include "bench/random_weight.h"
#include "bench/timing.h"
#include "core/parallel_for.h"
#include "cpu/packed_weight.h"

namespace coppice::bench {
namespace {

struct Options {
  std::string dtype = "BF16";
  std::int64_t rows = 8192, cols = 8192, tokens = 1;
  int threads = 2, rounds = 12;
  std::vector<std::string> patterns;
};

// Reads all 64-bit words; 16 sums, so that only memory limits it.
std::uint64_t sum_words(const std::byte* bytes, std::int64_t count) {
  constexpr std::int64_t kChains = 16;
  const auto* words = reinterpret_cast<const std::uint64_t*>(bytes);
  std::array<std::uint64_t, kChains> sums{};
  for (std::int64_t i = 0; i + kChains <= count / 8; i += kChains)
    for (std::int64_t c = 0; c < kChains; ++c) sums[static_cast<std::size_t>(c)] += words[i + c];
  std::uint64_t total = 0;
  for (std::uint64_t sum : sums) total += sum;
  return total;
}

std::int64_t stream_bytes(const cpu::PackedWeight& weight) {
  return std::ssize(weight.impl().panels) * weight.impl().panel_bytes;
}

double time_read(const cpu::PackedWeight& weight, int threads) {
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(std::max(threads, 1)));
  const double start = now_seconds();
  parallel_ranges(stream_bytes(weight) / 64, threads, [&](auto begin, auto end, int part) {
    sums[static_cast<std::size_t>(part)] =
        sum_words(weight.impl().stream.get() + begin * 64, (end - begin) * 64);
  });
  const double seconds = now_seconds() - start;
  // The sums must be needed, or the reads may be removed.
  volatile std::uint64_t sink = 0;
  for (std::uint64_t sum : sums) sink = sink + sum;
  return seconds;
}

void run(const Options& options, Dtype dtype, const std::string& pattern) {
  const SparseMatrix weight =
      random_weight(Pattern::parse(pattern), options.rows, options.cols, dtype, 1);
  // Copies that no cache holds together.
  std::vector<cpu::PackedWeight> copies;
  std::int64_t held = 0;
  while (held < 6 * last_level_cache_bytes() || copies.size() < 2) {
    copies.emplace_back(weight.view(), options.threads);
    held += std::max<std::int64_t>(copies.back().bytes(), 1);
  }
  std::vector<float> x(static_cast<std::size_t>(options.tokens * options.cols));
  std::vector<float> y(static_cast<std::size_t>(options.tokens * options.rows));
  fill_normal(x, 2);
  std::vector<double> products, reads;
  for (int round = 0; round < options.rounds; ++round) {
    for (const cpu::PackedWeight& copy : copies) {
      if (round % 2 == 1) {
        reads.push_back(time_read(copy, options.threads) / static_cast<double>(stream_bytes(copy)));
        continue;
      }
      const double start = now_seconds();
      cpu::multiply(copy, {x.data(), options.tokens, options.cols},
                    {y.data(), options.tokens, options.rows}, {}, options.threads);
      products.push_back(now_seconds() - start);
    }
  }
  const double own = static_cast<double>(weight.own_bytes()), seconds = median(products);
  const double bandwidth = 1 / median(reads);
  fmt::print("{:<12} {:<40} {:>9.1f} {:>9.1f} {:>9.1f} {:>8.1f} %\n", pattern,
             cpu::kernel_name(copies.front(), options.tokens), seconds * 1e6, own / seconds * 1e-9,
             bandwidth * 1e-9, 100 * own / seconds / bandwidth);
  std::fflush(stdout);
}

int run_all(int argc, char** argv) {
  Options options;
  CLI::App app("Own bytes per second of products by few tokens, against plain reads");
  app.add_option("--dtype", options.dtype, "F32, F16 or BF16")->capture_default_str();
  app.add_option("--rows", options.rows)->capture_default_str();
  app.add_option("--cols", options.cols)->capture_default_str();
  app.add_option("--tokens", options.tokens)->capture_default_str();
  app.add_option("--threads", options.threads)->capture_default_str();
  app.add_option("--rounds", options.rounds, "products and reads, in turn")->capture_default_str();
  app.add_option("patterns", options.patterns)->required();
  CLI11_PARSE(app, argc, argv);
  const auto dtype = parse_dtype(options.dtype);
  if (!dtype) {
    fmt::print(stderr, "unknown dtype '{}': needs F32, F16 or BF16\n", options.dtype);
    return 2;
  }
  fmt::print("{} x {} {}, {} token(s), {} thread(s)\n{:<12} {:<40} {:>9} {:>9} {:>9} {:>10}\n",
             options.rows, options.cols, options.dtype, options.tokens, options.threads, "pattern",
             "kernel", "us", "own GB/s", "read GB/s", "of read");
  for (const std::string& pattern : options.patterns) run(options, *dtype, pattern);
  return 0;
}

}  // namespace
}  // namespace coppice::bench

int main(int argc, char** argv) {
  try {
    return coppice::bench::run_all(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "spmv_bandwidth: {}\n", error.what());
    return 1;
  }
}
