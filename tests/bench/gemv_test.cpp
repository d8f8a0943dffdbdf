// The dense product of our own and the streaming ceiling, on a GPU.
#include "bench/cuda/gemv.h"

#include <gtest/gtest.h>

#include "bench/cuda/stream_read.h"
#include "cuda/gpu.h"

namespace coppice::bench {
namespace {

TEST(Gemv, TakesFewTokensOfWholeSixteenBytes) {
  const auto takes = [](std::int64_t cols, std::int64_t tokens, Dtype dtype) {
    return gemv_takes({.rows = 5, .cols = cols, .tokens = tokens, .dtype = dtype});
  };
  EXPECT_TRUE(takes(8, 1, Dtype::f16));
  EXPECT_TRUE(takes(8, 8, Dtype::bf16));
  EXPECT_TRUE(takes(4, 8, Dtype::f32));
  EXPECT_FALSE(takes(12, 1, Dtype::f16));
  EXPECT_FALSE(takes(6, 1, Dtype::f32));
  EXPECT_FALSE(takes(8, 9, Dtype::f16));
  EXPECT_FALSE(takes(16, 1, Dtype::f8_e4m3));
  EXPECT_FALSE(takes(0, 1, Dtype::f16));
}

TEST(Gemv, IsRightForEveryTypeNumberOfTokensAndOddShape) {
  COPPICE_NEEDS_GPU();
  struct Shape {
    std::int64_t rows, cols;
  };
  for (const auto& [rows, cols] : {Shape{1, 8}, {16, 2048}, {37, 2056}, {131, 4104}, {9, 136}})
    for (const Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::f32}) {
      const DenseWeights weights(rows, cols, dtype);
      for (std::int64_t tokens = 1; tokens <= kGemvTokens; ++tokens) {
        const GemvProduct product({rows, cols, tokens, dtype}, weights);
        const double bound = dtype == Dtype::f32 ? 1e-5 : dtype == Dtype::f16 ? 6e-4 : 4.5e-3;
        EXPECT_LE(product.error(nullptr), bound)
            << rows << " x " << cols << ", " << tokens << " tokens, " << dtype_name(dtype);
      }
    }
}

TEST(StreamCeiling, IsTheRateOfMemoryNotOfACache) {
  COPPICE_NEEDS_GPU();
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreate(&stream), "a stream");
  {
    StreamCeiling ceiling(stream);
    const double large = ceiling.bandwidth();
    EXPECT_GT(large, 50e9);
    EXPECT_LT(large, 20e12);
    EXPECT_LE(ceiling.bandwidth_of(std::int64_t{16} << 20), 1.1 * large);
    EXPECT_LT(ceiling.bandwidth_of(1), large) << "a launch takes longer than its read";
  }
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace coppice::bench
