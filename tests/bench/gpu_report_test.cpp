// The three forms of a GPU result agree with each other and with the result. Needs no GPU.
#include "bench/cuda/gpu_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coppice::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const RunInfo kInfo = {"NVIDIA H200", "580.1", "2026-11-21", "0123456789ab"};

GpuResult example() {
  GpuResult r;
  r.bench_case = {.pattern = Pattern::parse("2:4"),
                  .rows = 4096,
                  .cols = 2048,
                  .tokens = 512,
                  .dtype = Dtype::bf16,
                  .layout = Layout::token_major,
                  .kind = "EW",
                  .sparsity = 50};
  r.kernel = "wgmma 256x128";
  r.configuration = "wgmma 2x2 by 1x128";
  r.candidate = {.median_seconds = 20e-6, .min_seconds = 19e-6, .max_seconds = 22e-6, .samples = 7};
  r.baseline = {.median_seconds = 30e-6, .min_seconds = 29e-6, .max_seconds = 31e-6, .samples = 8};
  r.baseline_name = "cublasGemmEx TN token-major";
  r.cusparselt_seconds = 15e-6;
  r.cusparse = {80e-6, "SpMM CSR_ALG2", 3, 2e-4};
  r.bound = {10e-6, "shared memory"};
  r.fp8_seconds = 18e-6;
  r.gemv_seconds = 44e-6;
  r.streaming = {{40'000'000, 6'000'000, 4'000'000}, {5e12, 4e12}, 20e-6};
  r.checked = r.correct = true;
  return r;
}

TEST(GpuResult, Derived) {
  GpuResult r = example();
  EXPECT_DOUBLE_EQ(r.ratio(), 1.5);
  EXPECT_DOUBLE_EQ(r.cusparselt_ratio(), 0.75);
  EXPECT_DOUBLE_EQ(r.cusparse_ratio(), 4);
  EXPECT_DOUBLE_EQ(r.fp8_ratio(), 0.9);
  EXPECT_DOUBLE_EQ(r.gemv_ratio(), 2.2);
  EXPECT_DOUBLE_EQ(r.bound_fraction(), 0.5);
  EXPECT_NEAR(r.tflops(), 2.0 * 4096 * 2048 * 512 / 20e-6 * 1e-12, 1e-9);
  r.baseline = {};
  EXPECT_EQ(r.ratio(), 0);
}

TEST(GpuReport, CsvAndJsonHaveTheSameColumns) {
  const std::string header = gpu_csv_header(), row = gpu_csv_row(example(), kInfo);
  EXPECT_EQ(std::ranges::count(header, ','), std::ranges::count(row, ','));
  const auto json =
      nlohmann::ordered_json::parse(gpu_to_json(std::vector<GpuResult>{example()}, kInfo));
  ASSERT_EQ(json.size(), 1u);
  std::string names;
  for (const auto& [name, value] : json[0].items()) names += (names.empty() ? "" : ",") + name;
  EXPECT_EQ(names, header);
  EXPECT_NEAR(json[0]["us"].get<double>(), 20, 1e-9);
  EXPECT_NEAR(json[0]["own_tb_s"].get<double>(), 2.5, 1e-9);
  EXPECT_NEAR(json[0]["stream_fraction"].get<double>(), 0.5, 1e-9);
  EXPECT_NEAR(json[0]["read_us"].get<double>(), 12.5, 1e-9);
  EXPECT_NEAR(json[0]["cusparse_us"].get<double>(), 80, 1e-9);
  EXPECT_EQ(json[0]["cusparse"], "SpMM CSR_ALG2");
  EXPECT_EQ(json[0]["cusparse_replays"], 3);
  EXPECT_EQ(json[0]["kind"], "EW");
  EXPECT_EQ(json[0]["sparsity"], 50);
  EXPECT_EQ(json[0]["kept"], 0.5);
  EXPECT_EQ(json[0]["replays"], 7);
  EXPECT_EQ(json[0]["own_bytes"], 40'000'000);
  EXPECT_EQ(json[0]["moved_bytes"], 50'000'000);
  EXPECT_EQ(json[0]["gpu"], "NVIDIA H200");
  EXPECT_EQ(json[0]["commit"], "0123456789ab");
  EXPECT_EQ(json[0]["check"], "ok");
  GpuResult quick = example();
  quick.checked = quick.correct = false;
  EXPECT_EQ(nlohmann::json::parse(gpu_to_json({&quick, 1}, kInfo))[0]["check"], "skipped");
}

TEST(GpuReport, TheTableSaysWhatMatters) {
  GpuResult r = example();
  EXPECT_THAT(gpu_table_row(r), HasSubstr("1.50x"));
  EXPECT_THAT(gpu_table_row(r), HasSubstr("0.75x cuSPARSELt"));
  EXPECT_THAT(gpu_table_row(r), HasSubstr("4.0x cuSPARSE SpMM CSR_ALG2"));
  EXPECT_THAT(gpu_table_row(r), HasSubstr("0.90x"));
  EXPECT_THAT(gpu_table_row(r), HasSubstr("2.20x"));
  EXPECT_THAT(gpu_table_row(r), HasSubstr("2.50    50%    50%"));
  EXPECT_THAT(gpu_table_row(r), Not(HasSubstr("FAILED")));
  r.correct = false;
  r.baseline = {};
  EXPECT_THAT(gpu_table_row(r), HasSubstr("FAILED"));
  EXPECT_THAT(gpu_table_row(r), Not(HasSubstr("1.50x")));
  // Where the ceiling was not measured, nothing is said about bandwidth.
  r.streaming.rates = {};
  EXPECT_THAT(gpu_table_row(r), Not(HasSubstr("2.50")));
}

TEST(GpuBench, RefusesWhatCannotRun) {
  const auto with = [](const char* pattern, Dtype dtype, std::int64_t tokens) {
    return BenchCase{.pattern = Pattern::parse(pattern),
                     .rows = 64,
                     .cols = 64,
                     .tokens = tokens,
                     .dtype = dtype};
  };
  EXPECT_NO_THROW(GpuBench::check(with("64:2:8", Dtype::f16, 1)));
  EXPECT_ANY_THROW(GpuBench::check(with("64:3/6:8", Dtype::f16, 1)));
  EXPECT_ANY_THROW(GpuBench::check(with("64:2:8", Dtype::i8, 1)));
  EXPECT_ANY_THROW(GpuBench::check(with("64:2:8", Dtype::f16, 0)));
}

}  // namespace
}  // namespace coppice::bench
