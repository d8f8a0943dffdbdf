#include "bench/cuda/sparse_product.h"

#include <algorithm>
#include <limits>

#include "bench/sampled_error.h"
#include "cuda/candidates.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::bench {
namespace {

constexpr std::size_t kHalf = 2;  // bytes of an element
constexpr int kPoison = 0xFF;     // a NaN in both types

// A block of a matrix of halves in device memory, as floats [tokens][features].
template <typename T>
void read_block(const cuda::BasicMatrix<T>& m, std::int64_t token, std::int64_t tokens,
                std::int64_t feature, std::int64_t features, std::span<float> out) {
  const bool by_token = m.layout == Layout::token_major;
  const std::int64_t lines = by_token ? tokens : features, width = by_token ? features : tokens;
  const std::int64_t first = by_token ? token : feature, offset = by_token ? feature : token;
  const auto stride = static_cast<std::size_t>(m.major_stride()) * kHalf;
  const auto row = static_cast<std::size_t>(width) * kHalf;
  std::vector<std::byte> bytes(row * static_cast<std::size_t>(lines));
  const auto* from = static_cast<const std::byte*>(static_cast<const void*>(m.data)) +
                     static_cast<std::size_t>(first) * stride +
                     static_cast<std::size_t>(offset) * kHalf;
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

bool has_poison(const std::byte* device, std::size_t count) {
  std::vector<std::uint16_t> host(count);
  check_cuda(cudaMemcpy(host.data(), device, count * kHalf, cudaMemcpyDeviceToHost),
             "reading the output");
  return std::ranges::find(host, std::numeric_limits<std::uint16_t>::max()) != host.end();
}

}  // namespace

SparseProduct::SparseProduct(const SparseMatrix& weight, const BenchCase& c)
    : matrix_(weight), tokens_(c.tokens) {
  const std::int64_t bytes = weight.own_bytes() + 2 * c.tokens * (c.rows + c.cols);
  const auto copies = std::max<std::int64_t>(2, (kRotatedBytes + bytes - 1) / bytes);
  for (std::int64_t i = 0; i < copies; ++i) {
    // All with the same content: what matters is that they lie elsewhere.
    weights_.emplace_back(weight.view());
    x_.push_back(random_halves(static_cast<std::size_t>(c.cols * c.tokens), c.dtype == Dtype::bf16,
                               static_cast<std::uint64_t>(i)));
    y_.emplace_back(static_cast<std::size_t>(c.rows * c.tokens) * kHalf);
    inputs_.push_back({x_.back().data(), c.dtype, c.tokens, c.cols, c.layout, 0});
    outputs_.push_back({y_.back().data(), c.dtype, c.tokens, c.rows, c.layout, 0});
  }
  workspace_bytes_ = cuda::workspace_bytes(weights_[0], inputs_[0]);
  workspace_.emplace_back(static_cast<std::size_t>(workspace_bytes_));
}

cuda::Selection SparseProduct::chosen() const { return cuda::select_for(weights_[0], inputs_[0]); }

std::vector<cuda::Selection> SparseProduct::candidates() const {
  return cuda::candidates(cuda::product_info(weights_[0], inputs_[0]),
                          weights_[0].impl().device_info);
}

DeviceCall SparseProduct::call(const cuda::Selection& selection) const {
  return [this, selection](int i, cudaStream_t stream) {
    const std::size_t n = static_cast<std::size_t>(i) % weights_.size();
    cuda::multiply_by(selection, weights_[n], inputs_[n], outputs_[n], {},
                      {workspace_[0].data(), workspace_bytes_}, stream);
  };
}

double SparseProduct::error(const cuda::Selection& selection, cudaStream_t stream) {
  const auto outputs = static_cast<std::size_t>(tokens_ * matrix_.rows());
  check_cuda(cudaMemsetAsync(y_[0].data(), kPoison, outputs * kHalf, stream), "poisoning");
  call(selection)(0, stream);
  check_cuda(cudaStreamSynchronize(stream), "a product");
  if (has_poison(y_[0].data(), outputs)) return std::numeric_limits<double>::quiet_NaN();
  return sampled_error(matrix_, tokens_,
                       [&](const OutputBlock& b, std::span<float> x, std::span<float> y) {
                         read_block(inputs_[0], b.token, b.tokens, 0, matrix_.cols(), x);
                         read_block(outputs_[0], b.token, b.tokens, b.row, b.rows, y);
                       });
}

}  // namespace coppice::bench
