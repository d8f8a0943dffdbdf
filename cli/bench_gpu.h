// `coppice bench --device cuda`.
#pragma once

#include <string>
#include <vector>

#include "bench/bench.h"

namespace coppice::cli {

struct GpuBenchRequest {
  std::vector<bench::BenchCase> cases;
  bool no_baseline = false, json = false;
  std::string csv;      ///< empty: none
  std::string kernel;   ///< see bench::GpuBenchOptions
  int token_group = 0;  ///< the same
  bool quick = false;   ///< the same
  bool tune = false;    ///< the same
  bool grid = false;    ///< the same
  bool resume = false;  ///< keep the lines of `csv`, and leave their cases out
};

/// Times the cases and prints them. @returns the exit code. Throws DeviceError in a build without
/// CUDA.
int run_gpu_bench(const GpuBenchRequest& request);

/// Writes lines to a file, which appears complete or not at all. Throws FileError.
void write_lines(const std::string& file, const std::vector<std::string>& lines);

}  // namespace coppice::cli
