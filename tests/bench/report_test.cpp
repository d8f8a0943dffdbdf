// The three forms of a result agree with each other and with the result.
#include "bench/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coppice::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

BenchResult example() {
  BenchResult r;
  r.bench_case = {.pattern = Pattern::parse("64:2:8"),
                  .rows = 512,
                  .cols = 256,
                  .tokens = 16,
                  .dtype = Dtype::bf16,
                  .layout = Layout::feature_major,
                  .set = "llama",
                  .name = "up, \"gate\""};
  r.threads = 2;
  r.kernel = "few-tokens/test";
  r.candidate = {.median_seconds = 2e-6, .min_seconds = 1e-6, .max_seconds = 4e-6, .samples = 12};
  r.baseline = {.median_seconds = 5e-6, .min_seconds = 5e-6, .max_seconds = 5e-6, .samples = 16};
  r.baseline_name = "OpenBLAS 0 (test, openmp) sgemm";
  r.own_bytes = 100'000;
  r.streaming_bandwidth = 100e9;
  r.error = 1e-7;
  r.error_bound = 1e-6;
  r.correct = true;
  return r;
}

// Fields of one CSV line, quotes taken off.
std::vector<std::string> csv_fields(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += '"';
      ++i;
    } else if (line[i] == '"') {
      quoted = !quoted;
    } else if (line[i] == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += line[i];
    }
  }
  return fields;
}

TEST(Result, Derived) {
  const BenchResult r = example();
  EXPECT_DOUBLE_EQ(r.speedup(), 2.5);
  EXPECT_DOUBLE_EQ(r.gflops(), 2e-9 * 512 * 256 * 16 / 2e-6);
  EXPECT_DOUBLE_EQ(r.own_bandwidth(), 50e9);
  EXPECT_DOUBLE_EQ(r.fraction_of_bandwidth(), 0.5);
  const BenchResult nothing;
  EXPECT_EQ(nothing.speedup(), 0);
  EXPECT_EQ(nothing.gflops(), 0);
  EXPECT_EQ(nothing.fraction_of_bandwidth(), 0);
}

TEST(Report, CsvHasOneFieldForEachNameWhateverIsInThem) {
  const auto names = csv_fields(csv_header()), fields = csv_fields(csv_row(example()));
  ASSERT_EQ(fields.size(), names.size());
  const auto field = [&](const char* name) {
    return fields.at(static_cast<std::size_t>(std::ranges::find(names, name) - names.begin()));
  };
  EXPECT_EQ(field("name"), "up, \"gate\"");
  EXPECT_EQ(field("pattern"), "64:2:8");
  EXPECT_EQ(field("layout"), "feature");
  EXPECT_EQ(field("time_us"), "2.00");
  EXPECT_EQ(field("baseline_us"), "5.00");
  EXPECT_EQ(field("speedup"), "2.500");
  EXPECT_EQ(field("stream_fraction"), "0.500");
  EXPECT_EQ(field("check"), "ok");
}

TEST(Report, JsonHasTheNamesOfTheCsvColumns) {
  const std::vector<BenchResult> results = {example(), BenchResult{}};
  const auto json = nlohmann::ordered_json::parse(to_json(results));
  ASSERT_EQ(json.size(), 2u);
  std::vector<std::string> names;
  for (const auto& [name, value] : json[0].items()) names.push_back(name);
  EXPECT_EQ(names, csv_fields(csv_header()));
  EXPECT_EQ(json[0]["name"], "up, \"gate\"");
  EXPECT_EQ(json[0]["tokens"], 16);
  EXPECT_DOUBLE_EQ(json[0]["speedup"], 2.5);
  EXPECT_EQ(nlohmann::json::parse(to_json({})), nlohmann::json::array());
}

TEST(Report, TheTableSaysWhenThereIsNoBaselineAndWhenAProductWasWrong) {
  BenchResult r = example();
  EXPECT_THAT(table_row(r), HasSubstr("2.50x"));
  EXPECT_THAT(table_row(r), Not(HasSubstr("FAILED")));
  r.baseline = {};
  EXPECT_THAT(table_row(r), Not(HasSubstr("x ")));
  r.correct = false;
  r.error = 0.5;
  EXPECT_THAT(table_row(r), HasSubstr("FAILED: error 5.0e-01"));
  EXPECT_THAT(csv_row(r), HasSubstr("FAILED"));
}

}  // namespace
}  // namespace coppice::bench
