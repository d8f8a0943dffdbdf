// How far the kernels' activations are off, over every finite half.
#include <cmath>

#include "coppice/prune.h"
#include "cuda/gpu.h"

namespace coppice::cuda {
namespace {

constexpr std::int64_t kFeatures = 64, kTokens = 1024;  // 2^16 values

double exact(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::silu:
      return x / (1 + std::exp(-x));
  }
  return NAN;
}

std::vector<float> every_half() {
  std::vector<float> values(kFeatures * kTokens);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = to_float(Dtype::f16, static_cast<std::uint32_t>(i));
    values[i] = std::isfinite(value) ? value : 0;
  }
  return values;
}

std::vector<std::byte> as_bytes(Dtype dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(dtype_bytes(dtype)));
  from_float(dtype, values, bytes.data());
  return bytes;
}

// A weight whose products are `scale` times their inputs.
PackedWeight diagonal(float scale) {
  std::vector<float> dense(kFeatures * kFeatures);
  for (std::size_t i = 0; i < kFeatures; ++i) dense[i * (kFeatures + 1)] = scale;
  const std::vector<std::byte> bytes = as_bytes(Dtype::f16, dense);
  const DenseView view{bytes.data(), Dtype::f16, kFeatures, kFeatures, 0};
  const Pattern pattern = Pattern::parse("2:4");
  return PackedWeight(compress(view, magnitude_mask(view, pattern).mask, pattern).view());
}

std::vector<float> activated(const PackedWeight& weight, const GpuBytes& x, std::int64_t tokens,
                             Activation activation) {
  const GpuBytes y(static_cast<std::size_t>(tokens * kFeatures) * sizeof(float));
  multiply(weight, {x.data(), Dtype::f16, tokens, kFeatures, Layout::token_major, 0},
           {y.data(), Dtype::f32, tokens, kFeatures, Layout::token_major, 0},
           {.activation = activation});
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<std::byte> bytes = y.read();
  std::vector<float> values(static_cast<std::size_t>(tokens * kFeatures));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

constexpr Activation kAll[] = {Activation::none, Activation::relu, Activation::gelu,
                               Activation::gelu_tanh, Activation::silu};

TEST(CudaActivation, OfEveryHalf) {
  COPPICE_NEEDS_GPU();
  const PackedWeight weight = diagonal(1);
  const std::vector<float> values = every_half();
  const GpuBytes x(as_bytes(Dtype::f16, values));
  for (const std::int64_t tokens : {kTokens, std::int64_t{3}})
    for (const Activation activation : kAll) {
      const std::vector<float> got = activated(weight, x, tokens, activation);
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double want = exact(activation, values[i]);
        // Beside the rounding of numbers as large as these.
        const double off = std::abs(got[i] - want) - 3e-7 * std::abs(want);
        ASSERT_LT(off, 2e-6) << "activation " << static_cast<int>(activation) << " of " << values[i]
                             << " is " << got[i] << ", not " << want;
      }
    }
}

// Sums beyond the largest half, in both directions: the positive ones stay, the others are nothing.
TEST(CudaActivation, OfLargeSums) {
  COPPICE_NEEDS_GPU();
  const PackedWeight weight = diagonal(60000);
  std::vector<float> values = every_half();
  for (float& value : values) value = std::abs(value) < 1000 ? 1000 : value;
  const GpuBytes x(as_bytes(Dtype::f16, values));
  for (const Activation activation : {Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
    const std::vector<float> got = activated(weight, x, kTokens, activation);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double sum = 60000.0 * values[i];
      ASSERT_NEAR(got[i], sum > 0 ? sum : 0, 1e-6 * std::abs(sum)) << values[i];
      if (sum < 0) {
        ASSERT_LT(std::abs(got[i]), 1e-6) << values[i];
      }
    }
  }
}

}  // namespace
}  // namespace coppice::cuda
