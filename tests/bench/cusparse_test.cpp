// cuSPARSE beside our products: which weights it has formats for, and that it multiplies by them.
#include "bench/cuda/cusparse.h"

#include <gtest/gtest.h>

#include "bench/cuda/gpu_bench.h"
#include "cuda/gpu.h"

namespace coppice::bench {
namespace {

BenchCase of(const char* pattern, std::int64_t rows, std::int64_t cols, std::int64_t tokens = 64,
             Dtype dtype = Dtype::f16) {
  return {.pattern = Pattern::parse(pattern),
          .rows = rows,
          .cols = cols,
          .tokens = tokens,
          .dtype = dtype,
          .layout = Layout::feature_major};
}

TEST(Cusparse, FormatsOfPatterns) {
  CusparseFormat format{};
  ASSERT_TRUE(cusparse_format(of("8:32", 70, 333), &format));
  EXPECT_EQ(format, CusparseFormat::csr);
  for (const char* blocks : {"bw4x4/8:32", "bw64x64/4:16"}) {
    ASSERT_TRUE(cusparse_format(of(blocks, 128, 1024), &format));
    EXPECT_EQ(format, CusparseFormat::blocked_ell);
  }
  // Blocks that are not square, or do not fill the weight, and what has no format of its own.
  EXPECT_FALSE(cusparse_format(of("bw4x8/8:32", 128, 1024), &format));
  EXPECT_FALSE(cusparse_format(of("bw64x64/4:16", 130, 1024), &format));
  EXPECT_FALSE(cusparse_format(of("bw64x64/4:16", 128, 1030), &format));
  EXPECT_FALSE(cusparse_format(of("vw32/8:32", 128, 1024), &format));
  EXPECT_FALSE(cusparse_format(of("2:4", 128, 1024), &format));
  EXPECT_FALSE(cusparse_format(of("64:2:8", 128, 1024), &format));
}

TEST(Cusparse, StandsBesideTheProductsOfAGrid) {
  COPPICE_NEEDS_GPU();
  GpuBenchOptions options;
  options.grid = true;
  GpuBench bench(options);
  for (const Dtype dtype : {Dtype::f16, Dtype::f32})
    for (const char* pattern : {"8:32", "bw4x4/8:32", "bw64x64/4:16", "vw4/8:32"})
      for (const std::int64_t tokens : {1, 64}) {
        const std::vector<GpuResult> results = bench.run(of(pattern, 256, 1024, tokens, dtype));
        ASSERT_EQ(results.size(), 1u);
        const GpuResult& r = results[0];
        EXPECT_TRUE(r.correct) << pattern << " " << r.error;
        EXPECT_GT(r.ratio(), 0) << pattern;
        CusparseFormat format{};
        const CusparseTime& time = r.cusparse;
        EXPECT_EQ(!time.name.empty(), cusparse_format(r.bench_case, &format)) << pattern;
        EXPECT_TRUE(time.seconds > 0 || time.name.empty() || time.name.starts_with("none: "))
            << time.name;
      }
}

}  // namespace
}  // namespace coppice::bench
