#include "bench_gpu.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>

#include "console.h"
#include "coppice/cancel.h"
#include "coppice/error.h"
#include "device.h"
#include "progress.h"
#if COPPICE_HAS_CUDA
#include "bench/cuda/gpu_bench.h"
#include "bench/cuda/gpu_report.h"
#include "bench/finished_lines.h"
#include "coppice_commit.h"
#endif

namespace coppice::cli {

void write_lines(const std::string& file, const std::vector<std::string>& lines) {
  const std::string temporary = file + ".tmp";
  errno = 0;
  std::ofstream out(temporary);
  for (const std::string& line : lines) out << line << "\n";
  out.close();
  if (!out || std::rename(temporary.c_str(), file.c_str()) != 0) {
    const int error = errno;
    std::remove(temporary.c_str());
    throw FileError(fmt::format("cannot write '{}': {}", file, std::strerror(error)));
  }
}

#if COPPICE_HAS_CUDA

namespace {

constexpr const char* kLegend =
    "time: the sparse product; dense: the same product by the fastest of cuBLAS and cuBLASLt in "
    "the same type; ratio: dense/time, below 1.00x the dense product is faster;\nfp8, gemv: the "
    "same ratio for dense fp8 weights, and for a dense kernel of our own for up to 8 tokens; "
    "TFLOP/s: as if the weight were dense;\nTB/s: bytes of the stored weight, the activations and "
    "the outputs over the time; stream: that in percent of what this GPU reads with nothing else "
    "to do{};\nbound: share of the roofline bound that is reached (docs/performance/model.md). {}, "
    "driver {}, {}, commit {}.\n";

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16] = {};
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

// Those that a GPU multiplies by; of the others it is said once for a pattern and dtype. Throws if
// there are none.
std::vector<bench::BenchCase> possible_cases(const std::vector<bench::BenchCase>& cases) {
  std::vector<bench::BenchCase> possible;
  std::vector<std::string> refusals;
  for (const bench::BenchCase& one : cases) {
    try {
      bench::GpuBench::check(one);
      possible.push_back(one);
    } catch (const InvalidArgument& error) {
      if (std::ranges::find(refusals, error.what()) == refusals.end())
        refusals.emplace_back(error.what());
    }
  }
  if (possible.empty() && !refusals.empty()) throw InvalidArgument(refusals.front());
  for (const std::string& refusal : refusals) note("left out: " + refusal);
  return possible;
}

std::string ceiling_text(const std::vector<bench::GpuResult>& results) {
  for (const bench::GpuResult& result : results)
    if (const double ceiling = result.streaming.rates.ceiling; ceiling > 0)
      return fmt::format(" ({:.2f} TB/s)", 1e-12 * ceiling);
  return "";
}

// Lines of the CSV file that are there already; cases that they are of are taken out of `cases`.
std::vector<std::string> finished_lines(const GpuBenchRequest& request,
                                        std::vector<bench::BenchCase>& cases) {
  if (!request.resume) return {bench::gpu_csv_header()};
  const bench::FinishedLines finished(request.csv, bench::gpu_csv_header());
  const std::size_t before = cases.size();
  std::erase_if(cases, [&](const bench::BenchCase& one) { return finished.has(one); });
  note(fmt::format("{} of {} products are in '{}'", before - cases.size(), before, request.csv));
  return finished.lines();
}

// Of a grid, a product that cannot be measured is a line that says so: the others are wanted.
std::vector<bench::GpuResult> run_case(bench::GpuBench& bench, const bench::BenchCase& one,
                                       bool grid) {
  if (!grid) return bench.run(one);
  try {
    return bench.run(one);
  } catch (const std::exception& error) {
    bench::GpuResult failed;
    failed.bench_case = one;
    failed.kernel = fmt::format("none: {}", error.what());
    failed.checked = true;
    return {failed};
  }
}

}  // namespace

int run_gpu_bench(const GpuBenchRequest& request) {
  std::vector<bench::BenchCase> cases = possible_cases(request.cases);
  std::vector<std::string> csv = finished_lines(request, cases);
  bench::GpuBench bench({.with_baseline = !request.no_baseline,
                         .kernel = request.kernel,
                         .token_group = request.token_group,
                         .tune = request.tune,
                         .quick = request.quick,
                         .grid = request.grid});
  const bench::RunInfo info = {bench.gpu(), bench.driver(), today(), COPPICE_COMMIT};
  if (!request.json) print(bench::gpu_table_header() + "\n");
  Progress progress("timing");
  std::vector<bench::GpuResult> results;
  bool correct = true;
  std::int64_t done = 0;
  for (const bench::BenchCase& one : cases) {
    throw_if_cancelled();
    progress.update(done++, std::ssize(cases), one.pattern.to_string());
    for (bench::GpuResult& result : run_case(bench, one, request.grid)) {
      progress.clear();
      csv.push_back(bench::gpu_csv_row(result, info));
      correct = correct && result.correct;
      if (!request.json) print(bench::gpu_table_row(result) + "\n");
      if (!request.json) flush_output();
      results.push_back(std::move(result));
    }
    // As far as it is, so that an interrupted run leaves what it measured.
    if (!request.csv.empty()) write_lines(request.csv, csv);
  }
  progress.clear();
  if (request.json)
    print_json({{"version", COPPICE_VERSION},
                {"gpu", info.gpu},
                {"driver", info.driver},
                {"date", info.date},
                {"commit", info.commit},
                {"results", Json::parse(bench::gpu_to_json(results, info))}});
  else
    print(
        fmt::format(kLegend, ceiling_text(results), info.gpu, info.driver, info.date, info.commit));
  for (const std::string& text : bench.notes()) note(text);
  if (!correct) report_error("a product was wrong: see the rows marked FAILED");
  return correct ? 0 : 1;
}

#else

int run_gpu_bench(const GpuBenchRequest&) {
  resolve_device("cuda");
  return 1;
}

#endif

}  // namespace coppice::cli
