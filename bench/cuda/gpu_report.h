// GPU benchmark results as CSV, JSON and a table for people.
#pragma once

#include <span>
#include <string>

#include "bench/cuda/gpu_bench.h"

namespace coppice::bench {

/// Where and when results were measured.
struct RunInfo {
  std::string gpu, driver, date, commit;
};

std::string gpu_csv_header();
/// One line, without its end. Times in microseconds.
std::string gpu_csv_row(const GpuResult& result, const RunInfo& info);
/// A JSON array of objects with the names of the CSV columns.
std::string gpu_to_json(std::span<const GpuResult> results, const RunInfo& info);

std::string gpu_table_header();
std::string gpu_table_row(const GpuResult& result);

}  // namespace coppice::bench
