#include "cuda/gpu.h"

#include <fmt/format.h>

#include <cstdlib>
#include <ranges>
#include <string_view>

#include "cuda/blocked/blocked_select.h"
#include "cuda/decode_select.h"
#include "cuda/element/held_select.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;

// A matrix of activations in a layout, with its values as floats beside it.
struct HostMatrix {
  std::int64_t tokens, features, stride;
  Layout layout;
  Dtype dtype;
  std::vector<std::byte> bytes;
  std::vector<float> values;  // [tokens][features]

  std::size_t index(std::int64_t token, std::int64_t feature) const {
    return static_cast<std::size_t>(layout == Layout::token_major ? token * stride + feature
                                                                  : feature * stride + token);
  }
};

HostMatrix make_matrix(Random* random, std::int64_t tokens, std::int64_t features, Layout layout,
                       Dtype dtype, std::int64_t extra) {
  HostMatrix m{tokens, features, 0, layout, dtype, {}, {}};
  const bool token_major = layout == Layout::token_major;
  m.stride = (token_major ? features : tokens) + extra;
  const std::int64_t elements = m.stride * (token_major ? tokens : features);
  const int size = dtype_bytes(dtype);
  m.bytes.assign(static_cast<std::size_t>(elements * size), std::byte{GpuBytes::kPoison});
  if (random == nullptr) return m;
  m.values = cpu::random_floats(*random, tokens * features);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t f = 0; f < features; ++f) {
      float& value = m.values[static_cast<std::size_t>(t * features + f)];
      const std::uint32_t bits = from_float(dtype, value);
      value = to_float(dtype, bits);
      std::memcpy(m.bytes.data() + m.index(t, f) * static_cast<std::size_t>(size), &bits,
                  static_cast<std::size_t>(size));
    }
  return m;
}

float element(const HostMatrix& m, const std::vector<std::byte>& bytes, std::int64_t token,
              std::int64_t feature) {
  const auto size = static_cast<std::size_t>(dtype_bytes(m.dtype));
  std::uint32_t bits = 0;
  std::memcpy(&bits, bytes.data() + m.index(token, feature) * size, size);
  return to_float(m.dtype, bits);
}

std::vector<double> expected(const Problem& p, const SparseMatrix& weight, const HostMatrix& x,
                             const std::vector<float>& bias, const HostMatrix& residual) {
  std::vector<double> y(static_cast<std::size_t>(p.tokens * p.rows));
  coppice::Epilogue epilogue{p.alpha, bias, p.activation};
  reference_multiply(weight.view(), {x.values.data(), p.tokens, p.cols},
                     {y.data(), p.tokens, p.rows}, epilogue);
  for (std::size_t i = 0; i < y.size() && !residual.values.empty(); ++i) y[i] += residual.values[i];
  return y;
}

// Of the relative error: rounding of the output (2^-11, 2^-8), or of fp32 sums and fast
// exponentials. 16-bit outputs of the dense library that another pass finishes are rounded twice
// (docs/performance/unpack.md).
double bound_of(const Problem& p, const Selection& selection) {
  if (is_tf32(selection)) return 1e-3;
  if (p.f32_out || p.dtype == Dtype::f32) return 2e-5;
  const int roundings = selection.family == Family::unpack ? 2 : 1;
  return roundings * (p.dtype == Dtype::f16 ? 6e-4 : 4e-3);
}

// Compares what was written; everything between the rows must still be poison.
void compare(const Problem& p, const HostMatrix& y, const std::vector<std::byte>& bytes,
             const std::vector<double>& want, const Selection& selection) {
  double error = 0, norm = 0, worst = -1;
  std::int64_t worst_token = 0, worst_row = 0;
  for (std::int64_t t = 0; t < p.tokens; ++t)
    for (std::int64_t r = 0; r < p.rows; ++r) {
      const double got = element(y, bytes, t, r);
      const double ref = want[static_cast<std::size_t>(t * p.rows + r)];
      ASSERT_TRUE(std::isfinite(got))
          << p.describe() << ": token " << t << " row " << r << " is " << got;
      error += (got - ref) * (got - ref);
      if (std::abs(got - ref) > worst) {
        worst = std::abs(got - ref);
        worst_token = t;
        worst_row = r;
      }
      norm += ref * ref;
    }
  EXPECT_LE(std::sqrt(error), bound_of(p, selection) * std::sqrt(norm) + 1e-6)
      << p.describe() << "; worst by " << worst << " at token " << worst_token << " row "
      << worst_row;
  const std::int64_t packed = y.layout == Layout::token_major ? p.rows : p.tokens;
  const auto size = static_cast<std::size_t>(dtype_bytes(y.dtype));
  for (std::size_t i = 0; i < bytes.size() / size; ++i)
    if (static_cast<std::int64_t>(i) % y.stride >= packed) {
      for (std::size_t b = 0; b < size; ++b)
        ASSERT_EQ(bytes[i * size + b], std::byte{GpuBytes::kPoison})
            << p.describe() << ": written between rows";
    }
}

// How the product is run: as `multiply` does, or by all kernels of a family, one after the other;
// not at all if the family cannot.
std::vector<Selection> selections(const Problem& p, const PackedWeight& packed, const Matrix& x) {
  if (!p.every_kernel_of) return {select_for(packed, x)};
  const PackedWeight::Impl& impl = packed.impl();
  ProductInfo product = impl.product;
  product.tokens = x.tokens;
  product.token_major = x.layout == Layout::token_major;
  product.aligned = reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && x.stride % 8 == 0;
  const DeviceInfo& device = impl.device_info;
  const Family family = *p.every_kernel_of;
  if (!can_run(family, product, device)) return {};
  std::vector<Selection> all;
  if (is_element_family(family)) {
    for (const int tile : element_tiles(family, product)) {
      all.push_back(select_of(family, product, device));
      all.back().tile_tokens = tile;
    }
    if (family == Family::fragments)
      for (const Selection& held : held_selections(product, device)) all.push_back(held);
    return all;
  }
  if (family == Family::blocked) {
    for (const F32Products products : {F32Products::automatic, F32Products::tf32}) {
      product.f32_products = products;
      const std::vector<Selection> some = blocked_selections(product, device);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }
  if (family == Family::window) {
    for (const int shape : window_shapes(product, device)) {
      all.push_back(select_of(family, product, device));
      all.back().shape = shape;
    }
    return all;
  }
  if (family == Family::two_four) return two_four_selections(product, device);
  if (family == Family::unpack) {
    for (const F32Products products : {F32Products::automatic, F32Products::tf32}) {
      product.f32_products = products;
      if (products == F32Products::automatic || p.dtype == Dtype::f32)
        all.push_back(select_of(family, product, device));
    }
    return all;
  }
  if (family == Family::decode) {
    for (const DecodeShape& shape : decode_shapes(product, device)) {
      all.push_back(select_of(family, product, device));
      all.back().decode = shape;
    }
    return all;
  }
  if (family == Family::mma) {
    for (const MmaShape& shape : mma_shapes(product, device)) {
      all.push_back(select_of(family, product, device));
      all.back().mma = shape;
    }
    return all;
  }
  for (std::size_t i = 0; i < kWgmmaShapes.size(); ++i) {
    if (!has_tile(kWgmmaShapes[i], family, product)) continue;
    for (const int slices : slice_counts(kWgmmaShapes[i], family, product, device)) {
      all.push_back(select_of(family, product, device));
      all.back().shape = static_cast<int>(i);
      all.back().slices = slices;
    }
  }
  return all;
}

}  // namespace

std::string Problem::describe() const {
  return fmt::format("{} {}x{} tokens {} {} x:{}+{}@{} y:{}+{}{} alpha {} act {}{}{}{}{}",
                     pattern.to_string(), rows, cols, tokens, dtype_name(dtype),
                     x_layout == Layout::token_major ? "tok" : "feat", x_extra, x_offset,
                     y_layout == Layout::token_major ? "tok" : "feat", y_extra,
                     f32_out ? " f32" : "", alpha, static_cast<int>(activation),
                     bias ? " bias" : "", residual ? " residual" : "", permuted ? " permuted" : "",
                     row_segments.empty() && col_segments.empty() ? "" : " segments");
}

int case_count(int usual) {
  const char* cases = std::getenv("COPPICE_GPU_TEST_CASES");
  return cases != nullptr ? std::atoi(cases) : usual;
}

std::vector<std::int64_t> random_segments(Random& random, std::int64_t size) {
  const std::int64_t first = cpu::random_int(random, 0, static_cast<int>(size));
  return {first, 0, size - first};
}

void choose_operands(Problem& p, Random& random) {
  const auto coin = [&] { return cpu::random_int(random, 0, 1) == 1; };
  const auto one_of_four = [&] { return cpu::random_int(random, 0, 3) == 0; };
  p.x_layout = coin() ? Layout::token_major : Layout::feature_major;
  p.y_layout = coin() ? Layout::token_major : Layout::feature_major;
  p.x_extra = coin() ? 0 : cpu::random_int(random, 0, 16);
  p.y_extra = coin() ? 0 : cpu::random_int(random, 0, 16);
  p.x_offset = one_of_four() ? cpu::random_int(random, 1, 9) : 0;
  p.f32_out = p.dtype == Dtype::f32 || coin();
  p.bias = coin();
  p.f32_bias = coin();
  p.residual = coin();
  p.permuted = one_of_four();
  p.alpha = coin() ? 1.0f : -0.75f;
  p.activation = static_cast<Activation>(cpu::random_int(random, 0, 4));
  if (one_of_four()) p.row_segments = random_segments(random, p.rows);
  if (one_of_four()) p.col_segments = random_segments(random, p.cols);
}

namespace {

// Kernels that a tool which watches the test does not follow: scripts/gpu_check.sh says which.
bool left_out(const Selection& selection) {
  const char* names = std::getenv("COPPICE_GPU_TEST_LEAVE_OUT");  // separated by commas
  if (names == nullptr) return false;
  for (const auto name : std::views::split(std::string_view(names), ','))
    if (selection_name(selection).starts_with(std::string_view(name.begin(), name.end())))
      return true;
  return false;
}

}  // namespace

void check_problem(const Problem& p, std::uint64_t seed) {
  Random random(seed);
  SparseMatrix weight = cpu::random_weight(random, p.pattern, p.rows, p.cols, p.dtype,
                                           {p.row_segments, p.col_segments, p.permuted});
  const PackedWeight packed(weight.view());
  const Dtype out = p.f32_out ? Dtype::f32 : p.dtype;
  const HostMatrix x = make_matrix(&random, p.tokens, p.cols, p.x_layout, p.dtype, p.x_extra);
  const HostMatrix y = make_matrix(nullptr, p.tokens, p.rows, p.y_layout, out, p.y_extra);
  HostMatrix residual;
  if (p.residual) residual = make_matrix(&random, p.tokens, p.rows, p.y_layout, out, p.y_extra);
  const Dtype bias_dtype = p.f32_bias ? Dtype::f32 : p.dtype;
  std::vector<float> bias;
  std::vector<std::byte> bias_bytes;
  if (p.bias) {
    bias = cpu::random_floats(random, p.rows);
    bias_bytes.resize(static_cast<std::size_t>(p.rows * dtype_bytes(bias_dtype)));
    from_float(bias_dtype, bias, bias_bytes.data());
    to_float(bias_dtype, bias_bytes.data(), bias);
  }

  const std::int64_t shift = p.x_offset * dtype_bytes(p.dtype);
  std::vector<std::byte> shifted(static_cast<std::size_t>(shift), std::byte{0});
  shifted.insert(shifted.end(), x.bytes.begin(), x.bytes.end());
  const GpuBytes x_gpu(shifted), residual_gpu(residual.bytes), bias_gpu(bias_bytes);
  const Matrix x_matrix{x_gpu.data() + shift, p.dtype, p.tokens, p.cols, p.x_layout, x.stride};
  const Epilogue epilogue{p.alpha, p.bias ? bias_gpu.data() : nullptr, bias_dtype, p.activation,
                          p.residual ? residual_gpu.data() : nullptr};
  const std::vector<double> want = expected(p, weight, x, bias, residual);
  for (const Selection& selection : selections(p, packed, x_matrix)) {
    if (left_out(selection)) continue;
    SCOPED_TRACE(selection_name(selection));
    const GpuBytes y_gpu(y.bytes);
    const MutableMatrix y_matrix{y_gpu.data(), out, p.tokens, p.rows, p.y_layout, y.stride};
    const auto bytes = static_cast<std::size_t>(workspace_bytes_of(selection, packed, p.tokens));
    const GpuBytes workspace(bytes);
    const Workspace given{workspace.data(), static_cast<std::int64_t>(bytes)};
    if (p.every_kernel_of)
      multiply_by(selection, packed, x_matrix, y_matrix, epilogue, given, nullptr);
    else
      multiply(packed, x_matrix, y_matrix, epilogue, given);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << p.describe();
    (void)workspace.read();
    compare(p, y, y_gpu.read(), want, selection);
  }
}

}  // namespace coppice::cuda
