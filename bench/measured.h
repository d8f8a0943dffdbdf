// Times that `coppice bench --device cuda --csv` measured, to be held against the model's.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "bench/bench.h"

namespace coppice::bench {

/// A line of such a file. 0: not measured.
struct MeasuredProduct {
  Pattern pattern;
  Dtype dtype = Dtype::f16;
  Layout layout = Layout::feature_major;
  std::int64_t rows = 0, cols = 0, tokens = 0;
  std::string kernel, configuration;
  double seconds = 0, dense_seconds = 0, fp8_seconds = 0;
  std::string gpu;

  bool same_case(const MeasuredProduct& other) const;
};

/// Lines of such a file, the names of the columns first.
std::vector<std::string> measured_lines(const std::vector<MeasuredProduct>& products);

/// Needed are the columns pattern, cols, rows, tokens, kernel and us; dtype (else F16), layout
/// (else feature), configuration, dense_us, fp8_us and gpu are read where they are there, others
/// are ignored. `#` starts a comment line. Throws FileError with the line and the fault.
std::vector<MeasuredProduct> read_measured(const std::filesystem::path& file);
std::vector<MeasuredProduct> parse_measured(std::string_view csv, const std::string& name);

}  // namespace coppice::bench
