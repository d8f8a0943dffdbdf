// What a CSV file of results has already, so that a long run can go on where it was stopped.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bench/bench.h"

namespace coppice::bench {

class FinishedLines {
 public:
  /// Reads a file that starts with `header`, if it is there. Lines whose product was wrong are
  /// dropped: they are to be measured again. Throws FileError if the file cannot be read or its
  /// lines are others.
  FinishedLines(const std::filesystem::path& file, const std::string& header);

  /// The header and the lines kept.
  const std::vector<std::string>& lines() const { return lines_; }
  /// Whether one of them is of this case: name, pattern, dtype, layout and sizes.
  bool has(const BenchCase& bench_case) const;

 private:
  std::vector<std::string> lines_;
  std::set<std::string> cases_;
};

}  // namespace coppice::bench
