#include "bench/cuda/dense_baselines.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "bench/cuda/gemv.h"

namespace coppice::bench {
namespace {

// Numbers of tokens that every library takes in fp8.
constexpr std::int64_t kFp8Tokens = 16;
// Of an output in the type, against double precision.
constexpr double kGemvError = 5e-3;

}  // namespace

const DenseWeights& DenseBaselines::weights(Dtype dtype) {
  const auto found = std::ranges::find(weights_, dtype, &Weights::dtype);
  if (found != weights_.end()) return *found->weights;
  weights_.push_back({dtype, std::make_unique<DenseWeights>(rows_, cols_, dtype)});
  return *weights_.back().weights;
}

double DenseBaselines::time(const DeviceCall& call) const {
  ReplayedCall replayed(call, stream_, kReplaySeconds);
  std::vector<double> seconds;
  for (int i = 0; i < kReplays; ++i) seconds.push_back(replayed.replay());
  return median(seconds);
}

void DenseBaselines::time_library(DenseBaseline& baseline, const DenseProblem& problem) {
  auto product = std::make_unique<DenseProduct>(problem, weights(problem.dtype), stream_);
  if (!product->choose()) throw std::runtime_error("no dense product runs");
  baseline.replayed = std::make_unique<ReplayedCall>(product->call(), stream_, seconds_);
  baseline.product = std::move(product);
}

void DenseBaselines::time_fp8(DenseBaseline& baseline, DenseProblem problem) {
  problem.dtype = Dtype::f8_e4m3;
  const std::int64_t padded = (problem.tokens + kFp8Tokens - 1) / kFp8Tokens * kFp8Tokens;
  for (const std::int64_t tokens : {problem.tokens, padded}) {
    problem.tokens = tokens;
    DenseProduct product(problem, weights(problem.dtype), stream_);
    if (!product.choose()) continue;
    baseline.fp8_seconds = time(product.call());
    baseline.fp8_tokens = tokens;
    return;
  }
  note_(fmt::format("no dense product in fp8 runs at cols {}, rows {}", cols_, rows_));
}

void DenseBaselines::time_gemv(DenseBaseline& baseline, const DenseProblem& problem) {
  const GemvProduct product(problem, weights(problem.dtype));
  const double error = product.error(stream_);
  if (error <= kGemvError)
    baseline.gemv_seconds = time(product.call());
  else
    note_(fmt::format("our own dense product is wrong (error {:.1e}) and left out", error));
}

const DenseBaseline& DenseBaselines::of(const BenchCase& c) {
  if (c.rows != rows_ || c.cols != cols_) {
    known_.clear();
    weights_.clear();
    rows_ = c.rows;
    cols_ = c.cols;
  }
  for (const auto& known : known_)
    if (known->shape.tokens == c.tokens && known->shape.dtype == c.dtype) return *known;
  known_.push_back(std::make_unique<DenseBaseline>());
  DenseBaseline& baseline = *known_.back();
  baseline.shape = c;
  const DenseProblem problem{c.rows, c.cols, c.tokens, c.dtype};
  if (!alone_ && gemv_takes(problem)) time_gemv(baseline, problem);
  try {
    time_library(baseline, problem);
  } catch (const std::runtime_error& error) {
    baseline.why_not = fmt::format("none: {}", error.what());
    note_(fmt::format("no dense baseline: {}", error.what()));
    return baseline;
  }
  try {
    if (!alone_ && c.dtype != Dtype::f32) time_fp8(baseline, problem);
  } catch (const std::runtime_error& error) {
    note_(fmt::format("no dense product in fp8: {}", error.what()));
  }
  return baseline;
}

}  // namespace coppice::bench
