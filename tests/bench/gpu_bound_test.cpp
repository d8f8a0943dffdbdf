// The roofline of sparse products, against the figures of docs/performance/model.md.
#include "bench/gpu_bound.h"

#include <gtest/gtest.h>

namespace coppice::bench {
namespace {

GpuRates h200() { return gpu_rates({90, 132, 1.98e9, 4.8e12}); }

// Speedup over a dense product of 683 TFLOP/s at 4096 x 14336 and 4096 tokens.
double over_dense(const char* pattern) {
  const GpuBound bound = gpu_bound(Pattern::parse(pattern), 14336, 4096, 4096, h200());
  return 2.0 * 14336 * 4096 * 4096 / 683e12 / bound.seconds;
}

TEST(GpuBound, IsThatOfTheModel) {
  EXPECT_NEAR(over_dense("2:4"), 1.95, 0.05);
  EXPECT_NEAR(over_dense("128:2:8"), 2.9, 0.05);
  EXPECT_NEAR(over_dense("256:2:8"), 3.9, 0.05);
  EXPECT_NEAR(over_dense("128:2:16"), 5.8, 0.1);
  EXPECT_NEAR(over_dense("128:2:32"), 11.6, 0.1);
}

TEST(GpuBound, SaysWhatLimits) {
  const auto limit = [](const char* pattern, std::int64_t tokens) {
    return gpu_bound(Pattern::parse(pattern), 14336, 4096, tokens, h200()).limit;
  };
  EXPECT_EQ(limit("128:2:8", 4096), "L2");
  EXPECT_EQ(limit("2:4", 4096), "shared memory");
  EXPECT_EQ(limit("2:4", 16), "memory");
}

TEST(GpuBound, GrowsWithTheProductAndShrinksWithTheVector) {
  const auto seconds = [](const char* pattern, std::int64_t rows, std::int64_t tokens) {
    return gpu_bound(Pattern::parse(pattern), rows, 4096, tokens, h200()).seconds;
  };
  for (const char* pattern : {"2:4", "16:2:8", "64:2:8", "128:2:100"}) {
    EXPECT_GT(seconds(pattern, 8192, 512), seconds(pattern, 4096, 512)) << pattern;
    EXPECT_GT(seconds(pattern, 4096, 1024), seconds(pattern, 4096, 512)) << pattern;
  }
  EXPECT_LE(seconds("128:2:8", 4096, 4096), seconds("64:2:8", 4096, 4096));
  EXPECT_LE(seconds("64:2:8", 4096, 4096), seconds("64:2:5", 4096, 4096));
}

}  // namespace
}  // namespace coppice::bench
