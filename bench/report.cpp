#include "bench/report.h"

#include <fmt/format.h>

#include <vector>

#include "bench/fields.h"

namespace coppice::bench {
namespace {

// Every column, once: CSV and JSON cannot disagree.
std::vector<Field> fields_of(const BenchResult& r) {
  const BenchCase& c = r.bench_case;
  return {
      word("set", c.set),
      word("name", c.name),
      word("pattern", c.pattern.to_string()),
      word("dtype", std::string(dtype_name(c.dtype))),
      word("layout", layout_name(c.layout)),
      whole("tokens", c.tokens),
      whole("cols", c.cols),
      whole("rows", c.rows),
      whole("threads", r.threads),
      word("kernel", r.kernel),
      number("time_us", 1e6 * r.candidate.median_seconds, "{:.2f}"),
      number("time_min_us", 1e6 * r.candidate.min_seconds, "{:.2f}"),
      number("time_max_us", 1e6 * r.candidate.max_seconds, "{:.2f}"),
      number("baseline_us", 1e6 * r.baseline.median_seconds, "{:.2f}"),
      word("baseline", r.baseline_name),
      number("speedup", r.speedup(), "{:.3f}"),
      number("dense_gflops", r.gflops(), "{:.1f}"),
      whole("own_bytes", r.own_bytes),
      number("own_gb_s", 1e-9 * r.own_bandwidth(), "{:.2f}"),
      number("stream_gb_s", 1e-9 * r.streaming_bandwidth, "{:.2f}"),
      number("stream_fraction", r.fraction_of_bandwidth(), "{:.3f}"),
      number("error", r.error, "{:.2e}"),
      number("error_bound", r.error_bound, "{:.2e}"),
      word("check", r.correct ? "ok" : "FAILED"),
  };
}

}  // namespace

std::string csv_header() { return csv_names(fields_of({})); }

std::string csv_row(const BenchResult& result) { return csv_texts(fields_of(result)); }

std::string to_json(std::span<const BenchResult> results) {
  auto array = nlohmann::ordered_json::array();
  for (const BenchResult& result : results) array.push_back(json_object(fields_of(result)));
  return array.dump(2);
}

std::string table_header() {
  return fmt::format("{:<14} {:<5} {:<7} {:>6} {:>6} {:>6} {:>11} {:>11} {:>8} {:>9} {:>7}  {}",
                     "pattern", "dtype", "layout", "tokens", "cols", "rows", "time us", "dense us",
                     "speedup", "GFLOP/s", "memory", "kernel");
}

std::string table_row(const BenchResult& r) {
  const BenchCase& c = r.bench_case;
  const bool has_baseline = r.baseline.samples > 0;
  return fmt::format(
      "{:<14} {:<5} {:<7} {:>6} {:>6} {:>6} {:>11.1f} {:>11} {:>8} {:>9.1f} {:>6.0f}%  {}{}",
      c.pattern.to_string(), dtype_name(c.dtype), layout_name(c.layout), c.tokens, c.cols, c.rows,
      1e6 * r.candidate.median_seconds,
      has_baseline ? fmt::format("{:.1f}", 1e6 * r.baseline.median_seconds) : "-",
      has_baseline ? fmt::format("{:.2f}x", r.speedup()) : "-", r.gflops(),
      100 * r.fraction_of_bandwidth(), r.kernel,
      r.correct ? "" : fmt::format("  FAILED: error {:.1e}", r.error));
}

}  // namespace coppice::bench
