#include "bench/cuda/gpu_report.h"

#include <fmt/format.h>

#include <vector>

#include "bench/fields.h"

namespace coppice::bench {
namespace {

// Of the weights, exactly.
double kept_share(const BenchCase& c) {
  WeightShape shape;
  shape.rows = c.rows;
  shape.cols = c.cols;
  return Grid(c.pattern, shape).density();
}

std::vector<Field> fields_of(const GpuResult& r, const RunInfo& info) {
  const BenchCase& c = r.bench_case;
  const auto microseconds = [](const char* name, double seconds) {
    return number(name, 1e6 * seconds, "{:.3f}");
  };
  return {
      word("set", c.set),
      word("name", c.name),
      word("kind", c.kind),
      whole("sparsity", c.sparsity),
      word("pattern", c.pattern.to_string()),
      number("kept", kept_share(c), "{:.4f}"),
      word("dtype", std::string(dtype_name(c.dtype))),
      word("layout", layout_name(c.layout)),
      whole("tokens", c.tokens),
      whole("cols", c.cols),
      whole("rows", c.rows),
      word("kernel", r.kernel),
      word("configuration", r.configuration),
      microseconds("us", r.candidate.median_seconds),
      microseconds("us_min", r.candidate.min_seconds),
      microseconds("us_max", r.candidate.max_seconds),
      whole("replays", r.candidate.samples),
      number("tflops", r.tflops(), "{:.1f}"),
      microseconds("dense_us", r.baseline.median_seconds),
      word("dense", r.baseline_name),
      number("ratio", r.ratio(), "{:.4f}"),
      microseconds("cusparselt_us", r.cusparselt_seconds),
      number("ratio_cusparselt", r.cusparselt_ratio(), "{:.4f}"),
      microseconds("cusparse_us", r.cusparse.seconds),
      word("cusparse", r.cusparse.name),
      whole("cusparse_replays", r.cusparse.replays),
      number("cusparse_error", r.cusparse.error, "{:.2e}"),
      number("ratio_cusparse", r.cusparse_ratio(), "{:.4f}"),
      microseconds("fp8_us", r.fp8_seconds),
      whole("fp8_tokens", r.fp8_tokens),
      number("ratio_fp8", r.fp8_ratio(), "{:.4f}"),
      microseconds("own_dense_us", r.gemv_seconds),
      number("ratio_own_dense", r.gemv_ratio(), "{:.4f}"),
      microseconds("bound_us", r.bound.seconds),
      word("bound", r.bound.limit),
      number("bound_fraction", r.bound_fraction(), "{:.3f}"),
      whole("own_bytes", r.streaming.bytes.weight),
      whole("packed_bytes", r.packed_bytes),
      whole("moved_bytes", r.streaming.bytes.total()),
      number("own_tb_s", 1e-12 * r.streaming.bandwidth(), "{:.3f}"),
      number("stream_tb_s", 1e-12 * r.streaming.rates.ceiling, "{:.3f}"),
      number("stream_fraction", r.streaming.of_ceiling(), "{:.4f}"),
      microseconds("read_us", r.streaming.floor_seconds()),
      number("read_fraction", r.streaming.of_floor(), "{:.4f}"),
      whole("sm_mhz", r.clock_mhz),
      whole("dense_sm_mhz", r.baseline_clock_mhz),
      number("error", r.error, "{:.2e}"),
      number("error_bound", r.error_bound, "{:.2e}"),
      word("check", !r.checked  ? "skipped"
                    : r.correct ? "ok"
                                : "FAILED"),
      word("gpu", info.gpu),
      word("driver", info.driver),
      word("date", info.date),
      word("commit", info.commit),
  };
}

}  // namespace

std::string gpu_csv_header() { return csv_names(fields_of({}, {})); }

std::string gpu_csv_row(const GpuResult& result, const RunInfo& info) {
  return csv_texts(fields_of(result, info));
}

std::string gpu_to_json(std::span<const GpuResult> results, const RunInfo& info) {
  auto array = nlohmann::ordered_json::array();
  for (const GpuResult& result : results) array.push_back(json_object(fields_of(result, info)));
  return array.dump(2);
}

std::string gpu_table_header() {
  return fmt::format(
      "{:<12} {:<5} {:<7} {:>6} {:>6} {:>6} {:>9} {:>9} {:>7} {:>7} {:>7} {:>8} {:>6} {:>6} {:>6}  "
      "{}",
      "pattern", "dtype", "layout", "tokens", "cols", "rows", "time us", "dense us", "ratio", "fp8",
      "gemv", "TFLOP/s", "TB/s", "stream", "bound", "kernel");
}

std::string gpu_table_row(const GpuResult& r) {
  const BenchCase& c = r.bench_case;
  const auto times = [](double ratio) { return ratio > 0 ? fmt::format("{:.2f}x", ratio) : "-"; };
  const bool streams = r.streaming.rates.ceiling > 0;
  std::string row = fmt::format(
      "{:<12} {:<5} {:<7} {:>6} {:>6} {:>6} {:>9.2f} {:>9} {:>7} {:>7} {:>7} {:>8.1f} {:>6} {:>6} "
      "{:>5.0f}%  {}",
      c.pattern.to_string(), dtype_name(c.dtype), layout_name(c.layout), c.tokens, c.cols, c.rows,
      1e6 * r.candidate.median_seconds,
      r.baseline.samples > 0 ? fmt::format("{:.2f}", 1e6 * r.baseline.median_seconds) : "-",
      times(r.ratio()), times(r.fp8_ratio()), times(r.gemv_ratio()), r.tflops(),
      streams ? fmt::format("{:.2f}", 1e-12 * r.streaming.bandwidth()) : "-",
      streams ? fmt::format("{:.0f}%", 100 * r.streaming.of_ceiling()) : "-",
      100 * r.bound_fraction(), r.kernel);
  if (r.cusparselt_seconds > 0) row += fmt::format(", {:.2f}x cuSPARSELt", r.cusparselt_ratio());
  if (r.cusparse.seconds > 0)
    row += fmt::format(", {:.1f}x cuSPARSE {}", r.cusparse_ratio(), r.cusparse.name);
  if (!r.correct) row += fmt::format("  FAILED: error {:.1e}", r.error);
  return row;
}

}  // namespace coppice::bench
