#include "bench/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bench/bandwidth.h"
#include "bench/random_weight.h"
#include "bench/sampled_error.h"
#include "coppice/error.h"

namespace coppice::bench {
namespace {

constexpr std::int64_t kMaxCopies = 256;

std::int64_t copies_for(std::int64_t bytes) {
  const std::int64_t needed = 4 * last_level_cache_bytes();
  return std::clamp<std::int64_t>((needed + bytes - 1) / std::max<std::int64_t>(bytes, 1), 1,
                                  kMaxCopies);
}

// x and y of a case.
struct Operands {
  std::vector<float> x_data, y_data;
  Activations x;
  MutableActivations y;

  explicit Operands(const BenchCase& c)
      : x_data(static_cast<std::size_t>(c.cols * c.tokens)),
        y_data(static_cast<std::size_t>(c.rows * c.tokens)) {
    fill_normal(x_data, 7);
    x = {x_data.data(), c.tokens, c.cols, c.layout, 0};
    y = {y_data.data(), c.tokens, c.rows, c.layout, 0};
  }
};

// The error of sampled outputs. NaN (so: a failure) if any output at all was left unwritten.
double product_error(const SparseMatrix& weight, const Operands& operands) {
  if (std::ranges::any_of(operands.y_data, [](float v) { return std::isnan(v); }))
    return std::numeric_limits<double>::quiet_NaN();
  return sampled_error(weight, operands.x.tokens,
                       [&](const OutputBlock& block, std::span<float> x, std::span<float> y) {
                         for (std::int64_t t = 0; t < block.tokens; ++t) {
                           for (std::int64_t c = 0; c < weight.cols(); ++c)
                             x[static_cast<std::size_t>(t * weight.cols() + c)] =
                                 operands.x.at(block.token + t, c);
                           for (std::int64_t r = 0; r < block.rows; ++r)
                             y[static_cast<std::size_t>(t * block.rows + r)] =
                                 operands.y.at(block.token + t, block.row + r);
                         }
                       });
}

// fp32 sums of n products err like a random walk of n steps of half an ulp; times four.
double accumulation_bound(std::int64_t kept) {
  return 4 * std::ldexp(1.0, -24) * (std::sqrt(static_cast<double>(kept)) + 2);
}

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

}  // namespace

double BenchResult::speedup() const {
  return ratio(baseline.median_seconds, candidate.median_seconds);
}
double BenchResult::gflops() const {
  const auto& c = bench_case;
  const double weights = static_cast<double>(c.rows) * static_cast<double>(c.cols);
  return ratio(2e-9 * weights * static_cast<double>(c.tokens), candidate.median_seconds);
}
double BenchResult::own_bandwidth() const {
  return ratio(static_cast<double>(own_bytes), candidate.median_seconds);
}
double BenchResult::fraction_of_bandwidth() const {
  return ratio(own_bandwidth(), streaming_bandwidth);
}

// Dense fp32 weights of one shape, enough of them that no cache holds any.
struct Bench::Dense {
  std::int64_t rows = 0, cols = 0;
  std::vector<std::vector<float>> copies;
};

Bench::Bench(const BenchOptions& options) : options_(options) {
  if (options.threads < 1)
    throw InvalidArgument(fmt::format("{} threads, needs 1 or more", options.threads));
  // The library is probed in child processes: before our own threads exist.
  if (options.with_baseline)
    baseline_ = Baseline::load(&no_baseline_);
  else
    no_baseline_ = "not asked for";
  bandwidth_ = streaming_read_bandwidth(options.threads);
}

Bench::~Bench() = default;

std::string Bench::baseline_description() const {
  return baseline_ ? baseline_->description() : "none: " + no_baseline_;
}

const Bench::Dense& Bench::dense_weights(std::int64_t rows, std::int64_t cols) {
  if (!dense_ || dense_->rows != rows || dense_->cols != cols) {
    dense_.reset();
    dense_ = std::make_unique<Dense>();
    dense_->rows = rows;
    dense_->cols = cols;
    dense_->copies.resize(static_cast<std::size_t>(copies_for(4 * rows * cols)));
    for (std::size_t i = 0; i < dense_->copies.size(); ++i) {
      dense_->copies[i].resize(static_cast<std::size_t>(rows * cols));
      fill_normal(dense_->copies[i], 1000 + i);
    }
  }
  return *dense_;
}

BenchResult Bench::run(const BenchCase& c) {
  if (c.rows < 1 || c.cols < 1 || c.tokens < 1)
    throw InvalidArgument(fmt::format(
        "a benchmark needs sizes of 1 or more, got {} x {}, {} tokens", c.rows, c.cols, c.tokens));
  const SparseMatrix weight = random_weight(c.pattern, c.rows, c.cols, c.dtype, 3);
  std::vector<cpu::PackedWeight> packed;
  for (std::int64_t i = 0, n = copies_for(weight.own_bytes()); i < n; ++i)
    packed.emplace_back(weight.view(), options_.threads);
  Operands operands(c);
  auto candidate = [&](int turn) {
    const auto& copy = packed[static_cast<std::size_t>(turn) % packed.size()];
    cpu::multiply(copy, operands.x, operands.y, {}, options_.threads);
  };

  BenchResult result;
  result.bench_case = c;
  result.threads = options_.threads;
  result.kernel = cpu::kernel_name(packed.front(), c.tokens);
  result.own_bytes = weight.own_bytes();
  result.streaming_bandwidth = bandwidth_;
  std::ranges::fill(operands.y_data, std::numeric_limits<float>::quiet_NaN());
  candidate(0);
  result.error = product_error(weight, operands);
  result.error_bound = accumulation_bound(weight.grid->kept());
  result.correct = result.error <= result.error_bound;

  TimedCall baseline;
  TimingOptions timing = options_.timing;
  if (baseline_) {
    const Dense& dense = dense_weights(c.rows, c.cols);
    baseline = [&, this](int turn) {
      const auto& copy = dense.copies[static_cast<std::size_t>(turn) % dense.copies.size()];
      baseline_->multiply(copy.data(), operands.x, operands.y, options_.threads);
    };
    timing.pause_seconds = std::max(timing.pause_seconds, baseline_->pause_seconds());
    result.baseline_name =
        fmt::format("{} {}", baseline_->description(), Baseline::routine(c.tokens));
  } else {
    result.baseline_name = baseline_description();
  }
  const InterleavedTiming times = time_interleaved(baseline, candidate, timing);
  result.candidate = times.candidate;
  result.baseline = times.baseline;
  return result;
}

}  // namespace coppice::bench
