// One benchmark case at a time: a sparse product against the dense library, in the same run.
//
//   coppice::bench::Bench bench({.threads = 2});
//   coppice::bench::BenchResult r = bench.run({.pattern = Pattern::parse("2:4"), .rows = 4096,
//                                              .cols = 4096, .tokens = 256});
//   r.speedup();   // over OpenBLAS, or 0 if that is absent
//
// The rules: random normal operands; weights rotated over copies of at least four times the
// last-level cache in all, so that each call finds its weight in memory, as a layer of a model
// does; phases of baseline and candidate alternate (A B A B A B A); medians of 12 and 16 samples;
// outputs checked against the double-precision reference on sampled rows and tokens before anything
// is timed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/baseline.h"
#include "bench/timing.h"
#include "coppice/linear.h"

namespace coppice::bench {

struct BenchCase {
  Pattern pattern{};
  std::int64_t rows = 0, cols = 0, tokens = 1;
  Dtype dtype = Dtype::f32;
  Layout layout = Layout::token_major;  ///< of both x and y
  std::string set{}, name{};            ///< where the shape comes from, for the table only
  std::string kind{};                   ///< of a grid (grid.h): which of its kinds of patterns
  int sparsity = 0;                     ///< and which of its sparsities, nominal, in percent
};

struct BenchOptions {
  int threads = 1;
  bool with_baseline = true;
  TimingOptions timing{};
};

struct BenchResult {
  BenchCase bench_case;
  int threads = 1;
  std::string kernel;          ///< what ran
  Timing candidate;            ///< the sparse product
  Timing baseline;             ///< the dense fp32 product; no samples if there is no baseline
  std::string baseline_name;   ///< such as "OpenBLAS 0.3.21 (SkylakeX, openmp) sgemm"; or why not
  std::int64_t own_bytes = 0;  ///< of the canonical form
  double streaming_bandwidth = 0;  ///< of the machine, bytes per second, same threads
  double error = 0;                ///< |y - reference| / |reference| over the sampled outputs
  double error_bound = 0;          ///< what fp32 accumulation explains
  bool correct = false;            ///< error <= error_bound, and every output written

  double speedup() const;                ///< baseline time / candidate time; 0 without a baseline
  double gflops() const;                 ///< dense-equivalent: 2 * tokens * rows * cols / time
  double own_bandwidth() const;          ///< own bytes / time, bytes per second
  double fraction_of_bandwidth() const;  ///< own_bandwidth / streaming_bandwidth
};

/// Loads the dense library and measures the bandwidth once, then runs cases.
class Bench {
 public:
  explicit Bench(const BenchOptions& options);
  ~Bench();

  /// Throws InvalidArgument for a case that cannot exist.
  BenchResult run(const BenchCase& bench_case);

  double streaming_bandwidth() const { return bandwidth_; }
  /// The dense library, or why there is none.
  std::string baseline_description() const;

 private:
  struct Dense;
  const Dense& dense_weights(std::int64_t rows, std::int64_t cols);

  BenchOptions options_;
  std::unique_ptr<Baseline> baseline_;
  std::string no_baseline_;
  double bandwidth_ = 0;
  std::unique_ptr<Dense> dense_;  // kept between cases of one shape
};

}  // namespace coppice::bench
