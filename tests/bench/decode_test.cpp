// Bytes and fractions of products of few tokens.
#include "bench/decode.h"

#include <gtest/gtest.h>

namespace coppice::bench {
namespace {

Traffic traffic_of(const char* pattern, std::int64_t rows, std::int64_t cols, std::int64_t tokens,
                   Dtype dtype) {
  return traffic({.pattern = Pattern::parse(pattern),
                  .rows = rows,
                  .cols = cols,
                  .tokens = tokens,
                  .dtype = dtype});
}

TEST(Traffic, IsTheOwnBytesOfTheWeightAndBothMatrices) {
  // 2:4: half the values and two bits for each.
  const Traffic half = traffic_of("2:4", 14336, 4096, 3, Dtype::f16);
  EXPECT_EQ(half.weight, 14336 * 4096 / 2 * 2 + 14336 * 4096 / 2 / 4);
  EXPECT_EQ(half.activations, 2 * 4096 * 3);
  EXPECT_EQ(half.outputs, 2 * 14336 * 3);
  EXPECT_EQ(half.total(), half.weight + half.activations + half.outputs);
  // 3:32 of fp32: 3 values of 4 bytes, and 5 bits for each of the choices.
  const Traffic few = traffic_of("3:32", 1024, 1024, 1, Dtype::f32);
  EXPECT_EQ(few.weight, 1024 * (32 * 3 * 4 + 32 * 3 * 5 / 8));
  // Vectors share their choice: 8 of 32 columns, 5 bits each or a bitmask of 32.
  const Traffic vectors = traffic_of("vw32/8:32", 8192, 8192, 1, Dtype::bf16);
  EXPECT_EQ(vectors.weight, 8192 * 2048 * 2 + 8192 / 32 * 256 * 4);
  // Tails: the last group of 3 columns keeps 2 of them.
  EXPECT_EQ(traffic_of("2:4", 1, 7, 1, Dtype::f16).activations, 14);
  EXPECT_GE(traffic_of("2:4", 1, 7, 1, Dtype::f16).weight, 4 * 2 + 1);
}

TEST(Traffic, BytesPerDenseWeightAreThoseOfTheDecodeFloors) {
  const auto per_weight = [](const char* pattern) {
    const Traffic t = traffic_of(pattern, 4096, 4096, 1, Dtype::f16);
    return static_cast<double>(t.weight) / (4096.0 * 4096.0);
  };
  EXPECT_NEAR(per_weight("2:4"), 1.125, 1e-3);
  EXPECT_NEAR(per_weight("2:8"), 0.594, 1e-3);
  EXPECT_NEAR(per_weight("2:16"), 0.313, 1e-3);
  EXPECT_NEAR(per_weight("dense"), 2, 1e-9);
}

TEST(Streaming, Fractions) {
  Streaming s;
  EXPECT_EQ(s.bandwidth(), 0);
  EXPECT_EQ(s.of_ceiling(), 0);
  EXPECT_EQ(s.floor_seconds(), 0);
  EXPECT_EQ(s.of_floor(), 0);
  s.bytes = {8'000'000, 1'500'000, 500'000};
  s.rates = {5e12, 4e12};
  s.seconds = 4e-6;
  EXPECT_DOUBLE_EQ(s.bandwidth(), 2.5e12);
  EXPECT_DOUBLE_EQ(s.of_ceiling(), 0.5);
  EXPECT_DOUBLE_EQ(s.floor_seconds(), 2.5e-6);
  EXPECT_DOUBLE_EQ(s.of_floor(), 0.625);
}

}  // namespace
}  // namespace coppice::bench
