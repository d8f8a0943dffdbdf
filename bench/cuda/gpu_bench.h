// One benchmark case at a time on the GPU: a sparse product against the dense libraries, in the
// same run, under the protocol of docs/performance/model.md.
//
//   coppice::bench::GpuBench bench({});
//   for (const auto& r : bench.run({.pattern = Pattern::parse("128:2:8"), .rows = 14336,
//                                   .cols = 4096, .tokens = 4096, .dtype = Dtype::f16}))
//     print(r.ratio());
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/cuda/cusparse_time.h"
#include "bench/decode.h"
#include "bench/gpu_bound.h"

namespace coppice::bench {

struct GpuBenchOptions {
  bool with_baseline = true;
  /// Empty: what the library chooses. Else every kernel whose name begins so (names separated by
  /// commas), or "all".
  std::string kernel;
  int token_group = 0;  ///< forced, for developers; 0: what the library chooses
  bool tune = false;    ///< tune every product (cuda_tuner.h), and time it untuned and tuned
  bool quick = false;   ///< a fifth of the replays, and outputs are not checked
  /// Many cases, weight after weight (grid.h): shorter replays (protocol.h), fewer outputs checked,
  /// cuSPARSE beside it where it has the format, and nothing else (no fp8, dense product of our
  /// own, or bandwidth).
  bool grid = false;
};

struct GpuResult {
  BenchCase bench_case;
  std::string kernel, configuration;
  Timing candidate;
  Timing baseline;              ///< the fastest dense product in the same type
  std::string baseline_name;    ///< or why there is none
  double fp8_seconds = 0;       ///< dense, e4m3; 0 if not measured
  std::int64_t fp8_tokens = 0;  ///< with which it ran: more where the library refuses so few
  double gemv_seconds = 0;      ///< our own dense product of up to 8 tokens; 0 if not measured
  double cusparselt_seconds = 0;
  CusparseTime cusparse;  ///< in the format that suits the pattern; none for most
  GpuBound bound;
  std::int64_t packed_bytes = 0;  ///< of device memory that the weight takes
  Streaming streaming;            ///< rates only up to kDecodeTokens
  unsigned clock_mhz = 0, baseline_clock_mhz = 0;
  double error = 0, error_bound = 0;
  bool checked = false, correct = false;

  double ratio() const;             ///< baseline time / candidate time; 0 without a baseline
  double cusparselt_ratio() const;  ///< the same for cuSPARSELt
  double cusparse_ratio() const;    ///< the same for cuSPARSE
  double fp8_ratio() const;         ///< the same for fp8
  double gemv_ratio() const;        ///< the same for our own dense product
  double tflops() const;            ///< dense-equivalent
  double bound_fraction() const;    ///< bound / time
};

class GpuBench {
 public:
  /// On the current device. Throws DeviceError if it cannot be used.
  explicit GpuBench(GpuBenchOptions options);
  ~GpuBench();

  /// Throws InvalidArgument for a case that cannot exist, or that GPUs do not multiply by.
  static void check(const BenchCase& bench_case);

  /// One result for each kernel; throws what `check` throws.
  /// Cases of one shape in a row share their weights and dense baselines.
  std::vector<GpuResult> run(const BenchCase& bench_case);

  const std::string& gpu() const;
  const std::string& driver() const;
  /// What was missing, once each: baselines that could not be loaded.
  const std::vector<std::string>& notes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coppice::bench
