#include "layer_timing.h"

#include "coppice/cancel.h"
#include "units.h"

namespace coppice::cli {
namespace {

// Medians of few samples: a table of a model's layers is not a benchmark (`coppice bench` is).
constexpr bench::TimingOptions kQuick{
    .rounds = 2, .samples = 3, .sample_seconds = 1e-3, .pause_seconds = 0};

bool cpu_takes(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::bf16 || dtype == Dtype::f16;
}

}  // namespace

LayerTimer::LayerTimer(std::vector<std::int64_t> tokens, int threads)
    : tokens_(std::move(tokens)), threads_(threads) {
  if (!tokens_.empty())
    bench_ = std::make_unique<bench::Bench>(
        bench::BenchOptions{.threads = threads, .with_baseline = true, .timing = kQuick});
}

const std::vector<LayerTime>& LayerTimer::time(std::int64_t rows, std::int64_t cols,
                                               const Pattern& pattern, Dtype dtype) {
  auto [entry, is_new] = known_.try_emplace({rows, cols, pattern.to_string(), dtype});
  auto& times = entry->second;
  if (!is_new || !bench_ || !cpu_takes(dtype) || pattern.is_dense() || rows < 1 || cols < 1)
    return times;
  for (std::int64_t tokens : tokens_) {
    throw_if_cancelled();
    bench::BenchResult result = bench_->run(
        {.pattern = pattern, .rows = rows, .cols = cols, .tokens = tokens, .dtype = dtype});
    times.push_back(
        {tokens, result.baseline.median_seconds, result.candidate.median_seconds, result.kernel});
  }
  return times;
}

std::string LayerTimer::baseline() const { return bench_ ? bench_->baseline_description() : ""; }

std::vector<std::string> LayerTimer::header() const {
  std::vector<std::string> titles;
  for (std::int64_t tokens : tokens_) {
    titles.push_back(fmt::format("dense@{}", tokens));
    titles.push_back(fmt::format("sparse@{}", tokens));
    titles.push_back(fmt::format("speedup@{}", tokens));
  }
  return titles;
}

std::vector<std::string> LayerTimer::cells(const std::vector<LayerTime>& times) const {
  std::vector<std::string> cells;
  for (const LayerTime& time : times) {
    bool compared = time.dense_seconds > 0;
    cells.push_back(compared ? human_seconds(time.dense_seconds) : "-");
    cells.push_back(human_seconds(time.sparse_seconds));
    cells.push_back(!compared              ? "-"
                    : time.speedup() < 1.0 ? times_text(time.speedup()) + " dense wins"
                                           : times_text(time.speedup()));
  }
  cells.resize(3 * tokens_.size(), "-");
  return cells;
}

Json LayerTimer::json(const std::vector<LayerTime>& times) {
  Json all = Json::array();
  for (const LayerTime& time : times) {
    Json one = {{"tokens", time.tokens}, {"sparse_seconds", time.sparse_seconds}};
    one["dense_seconds"] = time.dense_seconds > 0 ? Json(time.dense_seconds) : Json(nullptr);
    one["speedup"] = time.dense_seconds > 0 ? Json(time.speedup()) : Json(nullptr);
    one["kernel"] = time.kernel;
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace coppice::cli
