// Gated products, and factors of single ones, against the double-precision reference.
#include <gtest/gtest.h>

#include "coppice/error.h"
#include "cuda/gpu.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

struct Gated {
  Pattern gate = Pattern::parse("64:2:8"), up = Pattern::parse("64:2:8");
  std::int64_t rows = 256, cols = 256, tokens = 128;
  Dtype dtype = Dtype::f16;
  Layout x_layout = Layout::feature_major, y_layout = Layout::feature_major;
  std::int64_t y_extra = 0;
  bool f32_out = false, bias = false;
  Activation activation = Activation::silu;
};

std::size_t index_of(Layout layout, std::int64_t stride, std::int64_t token, std::int64_t feature) {
  return static_cast<std::size_t>(layout == Layout::token_major ? token * stride + feature
                                                                : feature * stride + token);
}

// Rounded to the dtype, as bytes in the layout, packed; `values` become what was stored.
std::vector<std::byte> stored(Dtype dtype, Layout layout, std::int64_t tokens,
                              std::int64_t features, std::vector<float>& values) {
  std::vector<float> turned(values.size());
  const std::int64_t stride = layout == Layout::token_major ? features : tokens;
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t f = 0; f < features; ++f)
      turned[index_of(layout, stride, t, f)] = values[static_cast<std::size_t>(t * features + f)];
  std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(dtype_bytes(dtype)));
  from_float(dtype, turned, bytes.data());
  to_float(dtype, bytes.data(), turned);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t f = 0; f < features; ++f)
      values[static_cast<std::size_t>(t * features + f)] = turned[index_of(layout, stride, t, f)];
  return bytes;
}

std::vector<double> product(const SparseMatrix& weight, const std::vector<float>& x,
                            std::int64_t tokens, const coppice::Epilogue& epilogue) {
  std::vector<double> y(static_cast<std::size_t>(tokens * weight.rows()));
  reference_multiply(weight.view(), {x.data(), tokens, weight.cols()},
                     {y.data(), tokens, weight.rows()}, epilogue);
  return y;
}

// Reads y and compares; what lies between its rows must still be poison.
void compare(const Gated& p, const GpuBytes& y, std::int64_t stride,
             const std::vector<double>& want, const std::string& what) {
  const Dtype dtype = p.f32_out ? Dtype::f32 : p.dtype;
  const auto size = static_cast<std::size_t>(dtype_bytes(dtype));
  const std::vector<std::byte> bytes = y.read();
  std::vector<float> got(bytes.size() / size);
  to_float(dtype, bytes.data(), got);
  double error = 0, norm = 0;
  std::vector<bool> written(got.size());
  for (std::int64_t t = 0; t < p.tokens; ++t)
    for (std::int64_t r = 0; r < p.rows; ++r) {
      const std::size_t at = index_of(p.y_layout, stride, t, r);
      const double ref = want[static_cast<std::size_t>(t * p.rows + r)];
      ASSERT_TRUE(std::isfinite(got[at])) << what << ": token " << t << " row " << r;
      written[at] = true;
      error += (got[at] - ref) * (got[at] - ref);
      norm += ref * ref;
    }
  // Two roundings to 16 bits, or fp32 sums and fast exponentials.
  const double bound = p.f32_out ? 4e-5 : p.dtype == Dtype::f16 ? 1e-3 : 7e-3;
  EXPECT_LE(std::sqrt(error), bound * std::sqrt(norm) + 1e-6) << what;
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(written[i] || bytes[i * size] == std::byte{GpuBytes::kPoison})
        << what << ": written between rows";
}

void check(const Gated& p, std::uint64_t seed) {
  Random random(seed);
  const SparseMatrix gate = cpu::random_weight(random, p.gate, p.rows, p.cols, p.dtype),
                     up = cpu::random_weight(random, p.up, p.rows, p.cols, p.dtype);
  const PackedWeight packed_gate(gate.view()), packed_up(up.view());
  std::vector<float> x = cpu::random_floats(random, p.tokens * p.cols);
  const GpuBytes x_gpu(stored(p.dtype, p.x_layout, p.tokens, p.cols, x));
  std::vector<float> bias;
  if (p.bias) bias = cpu::random_floats(random, p.rows);
  std::vector<std::byte> bias_bytes(bias.size() * 4);
  from_float(Dtype::f32, bias, bias_bytes.data());
  const GpuBytes bias_gpu(bias_bytes);

  const Dtype out = p.f32_out ? Dtype::f32 : p.dtype;
  const bool token_major = p.y_layout == Layout::token_major;
  const std::int64_t stride = (token_major ? p.rows : p.tokens) + p.y_extra;
  const GpuBytes y(
      static_cast<std::size_t>(stride * (token_major ? p.tokens : p.rows) * dtype_bytes(out)));
  const Matrix x_matrix{x_gpu.data(), p.dtype, p.tokens, p.cols, p.x_layout, 0};
  const MutableMatrix y_matrix{y.data(), out, p.tokens, p.rows, p.y_layout, stride};
  const std::int64_t bytes = gated_workspace_bytes(packed_gate, packed_up, x_matrix);
  const GpuBytes workspace(static_cast<std::size_t>(bytes));
  Epilogue gate_epilogue{.alpha = 0.5f, .activation = p.activation}, up_epilogue{.alpha = 2};
  if (p.bias) gate_epilogue.bias = up_epilogue.bias = bias_gpu.data();
  multiply_gated(packed_gate, packed_up, x_matrix, y_matrix, gate_epilogue, up_epilogue,
                 {workspace.data(), bytes});
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  (void)workspace.read();

  std::vector<double> want = product(gate, x, p.tokens, {0.5f, bias, p.activation});
  const std::vector<double> other = product(up, x, p.tokens, {2, bias, Activation::none});
  for (std::size_t i = 0; i < want.size(); ++i) want[i] *= other[i];
  compare(p, y, stride, want,
          p.gate.to_string() + " and " + p.up.to_string() + " " + std::to_string(p.rows) + "x" +
              std::to_string(p.cols) + " tokens " + std::to_string(p.tokens) + " seed " +
              std::to_string(seed));
}

TEST(CudaGated, PatternsLayoutsAndTypes) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 1;
  for (const char* gate : {"2:4", "16:2:8", "64:2:8", "128:2:16"})
    for (const char* up : {"2:4", "32:2:8", "128:2:16"})
      for (const Layout in : {Layout::token_major, Layout::feature_major})
        for (const Layout out : {Layout::token_major, Layout::feature_major})
          for (const bool f32_out : {false, true})
            check({.gate = Pattern::parse(gate),
                   .up = Pattern::parse(up),
                   .dtype = seed % 2 == 0 ? Dtype::f16 : Dtype::bf16,
                   .x_layout = in,
                   .y_layout = out,
                   .f32_out = f32_out,
                   .bias = seed % 3 == 0},
                  seed++);
}

TEST(CudaGated, AnyShape) {
  COPPICE_NEEDS_GPU();
  const int count = case_count(400) / 4;
  Random random(20261123);
  const auto coin = [&] { return random_int(random, 0, 1) == 1; };
  for (int i = 0; i < count && !testing::Test::HasFailure(); ++i)
    check({.gate = Pattern::parse(coin() ? "64:2:8" : "128:2:5"),
           .up = Pattern::parse(coin() ? "64:2:8" : "24:2:9"),
           .rows = random_int(random, 1, 400),
           .cols = random_int(random, 1, 500),
           .tokens = random_int(random, 1, 500),
           .dtype = coin() ? Dtype::f16 : Dtype::bf16,
           .x_layout = coin() ? Layout::token_major : Layout::feature_major,
           .y_layout = coin() ? Layout::token_major : Layout::feature_major,
           .y_extra = coin() ? 0 : random_int(random, 0, 16),
           .f32_out = coin(),
           .bias = coin(),
           .activation = static_cast<Activation>(random_int(random, 0, 4))},
          static_cast<std::uint64_t>(i));
}

// Weights that are expanded first: the second product multiplies by what y holds.
TEST(CudaGated, ListPackedWeights) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 1;
  for (const char* gate : {"2:8", "4:8"})
    for (const char* up : {"4:8", "vw4/8:32"})
      for (const Layout in : {Layout::token_major, Layout::feature_major})
        for (const Layout out : {Layout::token_major, Layout::feature_major})
          check({.gate = Pattern::parse(gate),
                 .up = Pattern::parse(up),
                 .rows = 520,
                 .cols = 512,
                 .tokens = seed % 2 == 0 ? 700 : 701,
                 .dtype = seed % 3 == 0 ? Dtype::bf16 : Dtype::f16,
                 .x_layout = in,
                 .y_layout = out,
                 .f32_out = seed % 5 == 0,
                 .bias = seed % 4 == 0},
                seed++);
}

TEST(CudaGated, FactorOfASingleProduct) {
  COPPICE_NEEDS_GPU();
  for (const Layout layout : {Layout::token_major, Layout::feature_major}) {
    Random random(7);
    Gated p{.rows = 192, .tokens = 160, .y_layout = layout};
    const SparseMatrix weight = cpu::random_weight(random, p.up, p.rows, p.cols, p.dtype);
    const PackedWeight packed(weight.view());
    std::vector<float> x = cpu::random_floats(random, p.tokens * p.cols),
                       factor = cpu::random_floats(random, p.tokens * p.rows);
    const GpuBytes x_gpu(stored(p.dtype, p.x_layout, p.tokens, p.cols, x)),
        factor_gpu(stored(p.dtype, layout, p.tokens, p.rows, factor)),
        y(static_cast<std::size_t>(p.tokens * p.rows * 2));
    multiply(packed, {x_gpu.data(), p.dtype, p.tokens, p.cols, p.x_layout, 0},
             {y.data(), p.dtype, p.tokens, p.rows, layout, 0}, {.factor = factor_gpu.data()});
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    std::vector<double> want = product(weight, x, p.tokens, {});
    for (std::size_t i = 0; i < want.size(); ++i) want[i] *= factor[i];
    compare(p, y, layout == Layout::token_major ? p.rows : p.tokens, want, "factor");
  }
}

TEST(CudaGated, RefusesWhatDoesNotFit) {
  COPPICE_NEEDS_GPU();
  Random random(8);
  const auto pack = [&](std::int64_t rows, Dtype dtype) {
    return PackedWeight(
        cpu::random_weight(random, Pattern::parse("64:2:8"), rows, 64, dtype).view());
  };
  const PackedWeight gate = pack(64, Dtype::f16), higher = pack(128, Dtype::f16),
                     other = pack(64, Dtype::bf16);
  const GpuBytes x_gpu(std::size_t{64 * 64 * 2}), y_gpu(std::size_t{64 * 128 * 4});
  const Matrix x{x_gpu.data(), Dtype::f16, 64, 64, Layout::feature_major, 0};
  const MutableMatrix y{y_gpu.data(), Dtype::f16, 64, 64, Layout::feature_major, 0};
  EXPECT_THROW(multiply_gated(gate, higher, x, y, {}), InvalidArgument);
  EXPECT_THROW(multiply_gated(gate, other, x, y, {}), InvalidArgument);
  EXPECT_THROW(multiply_gated(gate, gate, x, y, {.residual = y_gpu.data()}), InvalidArgument);
  EXPECT_THROW(multiply(gate, x, y, {.residual = y_gpu.data(), .factor = y_gpu.data()}),
               InvalidArgument);
}

}  // namespace
}  // namespace coppice::cuda
