// Benchmark results as CSV, JSON and a table for people.
#pragma once

#include <span>
#include <string>

#include "bench/bench.h"

namespace coppice::bench {

/// The names of the columns, without a line end.
std::string csv_header();
/// One line, without its end. Times in microseconds, bandwidths in GB/s (10^9 bytes).
std::string csv_row(const BenchResult& result);

/// A JSON array of objects with the names of the CSV columns.
std::string to_json(std::span<const BenchResult> results);

/// The head of a table for people, and one line of it, without line ends.
std::string table_header();
std::string table_row(const BenchResult& result);

}  // namespace coppice::bench
