#include "bench/cuda/sparse_product.h"

#include <algorithm>
#include <limits>

#include "bench/decode.h"
#include "bench/random_weight.h"
#include "bench/sampled_error.h"
#include "cuda/blocked/blocked_select.h"
#include "cuda/candidates.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::bench {
namespace {

constexpr int kPoison = 0xFF;  // a NaN in every type

std::size_t element_bytes(Dtype dtype) { return static_cast<std::size_t>(dtype_bytes(dtype)); }

// A block of a matrix in device memory, as floats [tokens][features].
template <typename T>
void read_block(const cuda::BasicMatrix<T>& m, std::int64_t token, std::int64_t tokens,
                std::int64_t feature, std::int64_t features, std::span<float> out) {
  const bool by_token = m.layout == Layout::token_major;
  const std::int64_t lines = by_token ? tokens : features, width = by_token ? features : tokens;
  const std::int64_t first = by_token ? token : feature, offset = by_token ? feature : token;
  const std::size_t element = element_bytes(m.dtype);
  const auto stride = static_cast<std::size_t>(m.major_stride()) * element;
  const auto row = static_cast<std::size_t>(width) * element;
  std::vector<std::byte> bytes(row * static_cast<std::size_t>(lines));
  const auto* from = static_cast<const std::byte*>(static_cast<const void*>(m.data)) +
                     static_cast<std::size_t>(first) * stride +
                     static_cast<std::size_t>(offset) * element;
  check_cuda(cudaMemcpy2D(bytes.data(), row, from, stride, row, static_cast<std::size_t>(lines),
                          cudaMemcpyDeviceToHost),
             "reading a matrix");
  std::vector<float> values(static_cast<std::size_t>(lines * width));
  to_float(m.dtype, bytes.data(), values);
  for (std::int64_t i = 0; i < lines; ++i)
    for (std::int64_t j = 0; j < width; ++j)
      out[static_cast<std::size_t>(by_token ? i * width + j : j * lines + i)] =
          values[static_cast<std::size_t>(i * width + j)];
}

// True if an element has all bits set, as no product of finite numbers has.
bool has_poison(const std::byte* device, std::size_t bytes, std::size_t element) {
  std::vector<std::byte> host(bytes);
  check_cuda(cudaMemcpy(host.data(), device, bytes, cudaMemcpyDeviceToHost), "reading the output");
  for (std::size_t at = 0; at < bytes; at += element)
    if (std::all_of(host.begin() + static_cast<std::ptrdiff_t>(at),
                    host.begin() + static_cast<std::ptrdiff_t>(at + element),
                    [](std::byte b) { return b == std::byte{kPoison}; }))
      return true;
  return false;
}

}  // namespace

RotatedWeight::RotatedWeight(const BenchCase& c)
    : matrix_(random_weight(c.pattern, c.rows, c.cols, c.dtype, 1)) {
  for (std::int64_t i = 0, n = rotated_copies(matrix_.own_bytes()); i < n; ++i)
    copies_.emplace_back(matrix_.view());
}

SparseProduct::SparseProduct(const RotatedWeight& weight, const BenchCase& c)
    : weight_(weight), tokens_(c.tokens) {
  const auto copies =
      std::min(weight.count(), static_cast<std::size_t>(rotated_copies(traffic(c).total())));
  for (std::size_t i = 0; i < copies; ++i) {
    x_.push_back(random_values(c.cols * c.tokens, c.dtype, i));
    y_.emplace_back(static_cast<std::size_t>(c.rows * c.tokens) * element_bytes(c.dtype));
    inputs_.push_back({x_.back().data(), c.dtype, c.tokens, c.cols, c.layout, 0});
    outputs_.push_back({y_.back().data(), c.dtype, c.tokens, c.rows, c.layout, 0});
  }
  // For a copy of x, which kernels other than the chosen one may want.
  workspace_bytes_ = (c.tokens + 63) / 64 * 64 * c.cols * dtype_bytes(c.dtype);
  workspace_.emplace_back(static_cast<std::size_t>(workspace_bytes_));
}

cuda::Selection SparseProduct::chosen() const { return cuda::select_for(weight_[0], inputs_[0]); }

std::vector<cuda::Selection> SparseProduct::candidates() const {
  const auto of = [&](const cuda::MultiplyOptions& options) {
    return cuda::candidates(cuda::product_info(weight_[0], inputs_[0], options),
                            weight_[0].impl().device_info);
  };
  std::vector<cuda::Selection> all = of({});
  // What has to be asked for.
  if (inputs_[0].dtype == Dtype::f32)
    for (const cuda::Selection& s : of({.f32_products = cuda::F32Products::tf32}))
      if (cuda::is_tf32(s)) all.push_back(s);
  return all;
}

DeviceCall SparseProduct::call(const cuda::Selection& selection) const {
  return [this, selection](int i, cudaStream_t stream) {
    const std::size_t n = static_cast<std::size_t>(i) % inputs_.size();
    cuda::multiply_by(selection, weight_[n], inputs_[n], outputs_[n], {},
                      {workspace_[0].data(), workspace_bytes_}, stream);
  };
}

double SparseProduct::error(const cuda::Selection& selection, cudaStream_t stream) {
  const SparseMatrix& matrix = weight_.matrix();
  const std::size_t element = element_bytes(matrix.dtype);
  const std::size_t bytes = static_cast<std::size_t>(tokens_ * matrix.rows()) * element;
  check_cuda(cudaMemsetAsync(y_[0].data(), kPoison, bytes, stream), "poisoning");
  call(selection)(0, stream);
  check_cuda(cudaStreamSynchronize(stream), "a product");
  if (has_poison(y_[0].data(), bytes, element)) return std::numeric_limits<double>::quiet_NaN();
  return sampled_error(matrix, tokens_,
                       [&](const OutputBlock& b, std::span<float> x, std::span<float> y) {
                         read_block(inputs_[0], b.token, b.tokens, 0, matrix.cols(), x);
                         read_block(outputs_[0], b.token, b.tokens, b.row, b.rows, y);
                       });
}

}  // namespace coppice::bench
