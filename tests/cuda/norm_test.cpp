// LayerNorm and RMSNorm on the way into feature-major, against sums in double precision.
#include <gtest/gtest.h>

#include "coppice/cuda_norm.h"
#include "coppice/error.h"
#include "cuda/gpu.h"

namespace coppice::cuda {
namespace {

struct Case {
  Dtype dtype;
  Normalization::Kind kind;
  std::int64_t tokens, features;
  bool weight = true, bias = true;
  float mean = 0;
  std::int64_t from_extra = 0, to_extra = 0;  // elements of stride beyond a packed one
  std::int64_t offset = 0;                    // elements of every array from an aligned start
};

std::vector<float> random_values(std::uint64_t seed, std::int64_t count, float mean) {
  cpu::Random random(seed);
  std::normal_distribution<float> normal(mean, 1);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

// Rounded to the dtype, as bytes and as what they then are.
std::vector<std::byte> rounded(Dtype dtype, std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(dtype_bytes(dtype)));
  from_float(dtype, values, bytes.data());
  to_float(dtype, bytes.data(), values);
  return bytes;
}

struct Statistics {
  double mean = 0, factor = 0;
};

Statistics statistics_of(const Case& c, const float* x) {
  double mean = 0, squares = 0;
  const auto n = static_cast<double>(c.features);
  if (c.kind == Normalization::Kind::layer)
    for (std::int64_t i = 0; i < c.features; ++i) mean += x[i] / n;
  for (std::int64_t i = 0; i < c.features; ++i) squares += (x[i] - mean) * (x[i] - mean) / n;
  return {mean, 1 / std::sqrt(squares + 1e-5)};
}

void check(const Case& c) {
  const std::int64_t from_stride = c.features + c.from_extra, to_stride = c.tokens + c.to_extra;
  const auto size = static_cast<std::size_t>(dtype_bytes(c.dtype));
  std::vector<float> x = random_values(1, c.offset + c.tokens * from_stride, c.mean);
  std::vector<float> weight = random_values(2, c.offset + c.features, 1);
  std::vector<float> bias = random_values(3, c.offset + c.features, 0);
  const GpuBytes x_data(rounded(c.dtype, x)), weight_data(rounded(c.dtype, weight)),
      bias_data(rounded(c.dtype, bias));
  const GpuBytes y_data(static_cast<std::size_t>(c.offset + c.features * to_stride) * size);
  const std::size_t offset = static_cast<std::size_t>(c.offset) * size;
  weight.erase(weight.begin(), weight.begin() + c.offset);
  bias.erase(bias.begin(), bias.begin() + c.offset);
  const GpuBytes mean(static_cast<std::size_t>(c.tokens) * 4),
      factor(static_cast<std::size_t>(c.tokens) * 4);
  Normalization norm{c.kind, c.weight ? weight_data.data() + offset : nullptr,
                     c.bias ? bias_data.data() + offset : nullptr, 1e-5F};
  norm.statistics = {reinterpret_cast<float*>(mean.data()),
                     reinterpret_cast<float*>(factor.data())};
  const Matrix from{x_data.data() + offset, c.dtype,    c.tokens, c.features,
                    Layout::token_major,    from_stride};
  token_statistics(from, norm);
  normalize(
      from,
      {y_data.data() + offset, c.dtype, c.tokens, c.features, Layout::feature_major, to_stride},
      norm);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const std::vector<std::byte> got_bytes = y_data.read();
  std::vector<float> got(got_bytes.size() / size);
  to_float(c.dtype, got_bytes.data(), got);
  double error = 0, all = 0;
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    const float* token = x.data() + c.offset + t * from_stride;
    const Statistics of_token = statistics_of(c, token);
    for (std::int64_t f = 0; f < c.features; ++f) {
      const auto at = static_cast<std::size_t>(f);
      const double want =
          (token[f] - of_token.mean) * of_token.factor * (c.weight ? weight[at] : 1) +
          (c.bias ? bias[at] : 0);
      const double off = got[static_cast<std::size_t>(c.offset + f * to_stride + t)] - want;
      error += off * off;
      all += want * want;
    }
  }
  // What lies between the rows of y stays as it was.
  for (std::int64_t f = 0; f < c.features; ++f)
    for (std::int64_t t = c.tokens; t < to_stride; ++t)
      EXPECT_TRUE(std::isnan(got[static_cast<std::size_t>(c.offset + f * to_stride + t)]));
  EXPECT_LE(std::sqrt(error), (c.dtype == Dtype::f16 ? 5e-4 : 4e-3) * std::sqrt(all) + 1e-6)
      << dtype_name(c.dtype) << " " << (c.kind == Normalization::Kind::rms ? "rms " : "layer ")
      << c.tokens << " tokens, " << c.features << " features, mean " << c.mean << ", +"
      << c.from_extra << " to +" << c.to_extra << " @" << c.offset;
}

TEST(CudaNorm, EveryShape) {
  COPPICE_NEEDS_GPU();
  for (const auto kind : {Normalization::Kind::layer, Normalization::Kind::rms})
    for (const Dtype dtype : {Dtype::f16, Dtype::bf16})
      for (const std::int64_t tokens : {1, 7, 32, 40, 200})
        for (const std::int64_t features : {1, 8, 63, 256, 300, 768, 1024}) {
          check({dtype, kind, tokens, features});
          check({dtype, kind, tokens, features, true, false, 0, 8, 16, 0});
          check({dtype, kind, tokens, features, false, true, 0, 3, 0, 1});
          check({dtype, kind, tokens, features, false, false, 0, 0, 5, 0});
        }
}

TEST(CudaNorm, ManyTokensAndWideOnes) {
  COPPICE_NEEDS_GPU();
  check({Dtype::f16, Normalization::Kind::rms, 4500, 512});
  check({Dtype::bf16, Normalization::Kind::layer, 64, 16384});
}

// The deviation is 1 beside a mean of 100, of which fp16 keeps steps of 1/16.
TEST(CudaNorm, AMeanMuchLargerThanTheDeviation) {
  COPPICE_NEEDS_GPU();
  for (const std::int64_t features : {64, 4096})
    check({Dtype::f16, Normalization::Kind::layer, 33, features, true, true, 100});
}

TEST(CudaNorm, RefusesWhatDoesNotFit) {
  COPPICE_NEEDS_GPU();
  const GpuBytes a(4096), b(4096);
  const Matrix x{a.data(), Dtype::f16, 16, 32, Layout::token_major, 0};
  const MutableMatrix good{b.data(), Dtype::f16, 16, 32, Layout::feature_major, 0};
  const GpuBytes c(256);
  Normalization norm;
  EXPECT_THROW(token_statistics(x, norm), InvalidArgument);
  norm.statistics = {reinterpret_cast<float*>(c.data()), reinterpret_cast<float*>(c.data()) + 16};
  const auto refused = [&](auto change) {
    MutableMatrix y = good;
    change(y);
    EXPECT_THROW(normalize(x, y, norm), InvalidArgument);
  };
  refused([](MutableMatrix& y) { y.features = 31; });
  refused([](MutableMatrix& y) { y.layout = Layout::token_major; });
  refused([](MutableMatrix& y) { y.dtype = Dtype::bf16; });
  refused([](MutableMatrix& y) { y.stride = 15; });
  refused([](MutableMatrix& y) { y.data = nullptr; });
}

}  // namespace
}  // namespace coppice::cuda
