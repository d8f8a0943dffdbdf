// Predictions: finite, and not shorter for more bytes or operations.
#include "cuda/model/model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cuda/candidates.h"
#include "cuda/describe.h"
#include "cuda/model/fit.h"
#include "cuda/model/gpu.h"

namespace coppice::cuda::model {
namespace {

constexpr const char* kPatterns[] = {"2:4",     "64:2:5", "64:2:8", "128:2:16",  "16:2:8",
                                     "32:2:16", "2:8",    "4:8",    "vw32/8:32", "bw4x4/8:32"};

ProductInfo product(const std::string& pattern, std::int64_t rows, std::int64_t cols,
                    std::int64_t tokens, Dtype dtype = Dtype::f16) {
  WeightShape shape;
  shape.rows = rows;
  shape.cols = cols;
  ProductInfo p =
      describe(Grid(Pattern::parse(pattern), shape), dtype, false, built_in_gpu().device);
  p.tokens = tokens;
  return p;
}

double seconds(const ProductInfo& p, const DeviceInfo& device) {
  return predict(select(p, device), p, device).seconds;
}

TEST(Model, EveryCandidateHasATimeAndALimit) {
  const Gpu gpu = built_in_gpu();
  for (const char* pattern : kPatterns)
    for (const std::int64_t tokens : {1, 7, 64, 1000})
      for (const std::int64_t rows : {16, 100, 4096}) {
        const ProductInfo p = product(pattern, rows, 4096, tokens);
        for (const Selection& s : candidates(p, gpu.device)) {
          const Cost cost = predict(s, p, gpu.info());
          EXPECT_TRUE(std::isfinite(cost.seconds)) << tile_name(s);
          EXPECT_GT(cost.seconds, 0) << tile_name(s);
          EXPECT_LT(cost.seconds, 1) << tile_name(s);
          EXPECT_FALSE(limit_name(cost.limit).empty());
        }
      }
}

TEST(Model, MoreBytesAndOperationsTakeLonger) {
  const DeviceInfo device = built_in_gpu().device;
  for (const char* pattern : kPatterns) {
    EXPECT_LT(seconds(product(pattern, 4096, 4096, 1), device),
              seconds(product(pattern, 16384, 4096, 1), device))
        << pattern;
    EXPECT_LT(seconds(product(pattern, 4096, 4096, 512), device),
              seconds(product(pattern, 4096, 4096, 4096), device))
        << pattern;
    EXPECT_LT(seconds(product(pattern, 4096, 4096, 4096), device),
              seconds(product(pattern, 4096, 16384, 4096), device))
        << pattern;
  }
  for (const Dtype dtype : {Dtype::f16, Dtype::f32, Dtype::f8_e4m3})
    EXPECT_LT(dense_cost(dtype, 4096, 4096, 512, device).seconds,
              dense_cost(dtype, 4096, 4096, 4096, device).seconds);
  EXPECT_LT(dense_cost(Dtype::f8_e4m3, 8192, 8192, 4096, device).seconds,
            dense_cost(Dtype::f16, 8192, 8192, 4096, device).seconds);
}

TEST(Model, FasterLevelsAreNotSlower) {
  for (const char* pattern : kPatterns) {
    Gpu gpu = built_in_gpu();
    const ProductInfo p = product(pattern, 4096, 4096, 256);
    const Selection s = select(p, gpu.device);
    const double before = predict(s, p, gpu.info()).seconds;
    gpu.constants.memory_bytes *= 2;
    gpu.constants.l2_bytes *= 2;
    gpu.constants.tensor_flops *= 2;
    gpu.constants.clock_hz *= 2;
    EXPECT_LT(predict(s, p, gpu.info()).seconds, before) << pattern;
  }
}

TEST(Model, AGuessScalesLevels) {
  DeviceInfo half = built_in_gpu().device;
  half.multiprocessors /= 2;
  const Constants c = guessed_constants(half, {1.98e9, 2.4e12});
  const Constants built_in;
  EXPECT_NEAR(c.memory_bytes, built_in.memory_bytes / 2, 1e9);
  EXPECT_NEAR(c.tensor_flops, built_in.tensor_flops / 2, 1e9);
  EXPECT_EQ(c.wgmma.fill_clocks, built_in.wgmma.fill_clocks);
}

TEST(Fit, FindsTheConstantsThatTimesWereMadeBy) {
  Constants made;
  made.dense.ends_seconds = 9e-6;
  made.dense.f16_share = 0.6;
  std::vector<FitSample> samples;
  const DeviceInfo device = built_in_gpu().device;
  const auto time = [device](const Constants& c, std::int64_t tokens) {
    DeviceInfo with = device;
    with.constants = &c;
    return dense_cost(Dtype::f16, 4096, 4096, tokens, with).seconds;
  };
  for (const std::int64_t tokens : {1, 64, 512, 1024, 4096})
    samples.push_back(
        {time(made, tokens), [=](const Constants& c) { return time(c, tokens); }, -1});
  Constants fitted;
  const std::vector<std::string> names = {"dense.ends_seconds", "dense.f16_share"};
  fit_constants(fitted, names, samples);
  EXPECT_NEAR(fitted.dense.ends_seconds / 9e-6, 1, 0.05);
  EXPECT_NEAR(fitted.dense.f16_share / 0.6, 1, 0.05);
  EXPECT_EQ(fitted.dense.f8_share, Constants{}.dense.f8_share) << "not among the names";
}

}  // namespace
}  // namespace coppice::cuda::model
