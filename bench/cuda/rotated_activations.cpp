#include "bench/cuda/rotated_activations.h"

#include <limits>
#include <span>
#include <vector>

#include "bench/cuda/poison.h"
#include "bench/sampled_error.h"

namespace coppice::bench {
namespace {

constexpr std::size_t kAlignment = 256;

std::size_t aligned_bytes(std::int64_t elements, Dtype dtype) {
  const auto bytes = static_cast<std::size_t>(elements * dtype_bytes(dtype));
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// A block of a matrix in device memory, as floats [tokens][features]. Gathered there first: rows
// of a few bytes come over the bus one by one.
template <typename T>
void read_block(const cuda::BasicMatrix<T>& m, std::int64_t token, std::int64_t tokens,
                std::int64_t feature, std::int64_t features, std::span<float> out) {
  const bool by_token = m.layout == Layout::token_major;
  const std::int64_t lines = by_token ? tokens : features, width = by_token ? features : tokens;
  const std::int64_t first = by_token ? token : feature, offset = by_token ? feature : token;
  const auto element = static_cast<std::size_t>(dtype_bytes(m.dtype));
  const auto stride = static_cast<std::size_t>(m.major_stride()) * element;
  const auto row = static_cast<std::size_t>(width) * element;
  const DeviceMemory gathered(row * static_cast<std::size_t>(lines));
  const auto* from = static_cast<const std::byte*>(static_cast<const void*>(m.data)) +
                     static_cast<std::size_t>(first) * stride +
                     static_cast<std::size_t>(offset) * element;
  check_cuda(cudaMemcpy2D(gathered.data(), row, from, stride, row, static_cast<std::size_t>(lines),
                          cudaMemcpyDeviceToDevice),
             "reading a matrix");
  std::vector<std::byte> bytes(row * static_cast<std::size_t>(lines));
  check_cuda(cudaMemcpy(bytes.data(), gathered.data(), bytes.size(), cudaMemcpyDeviceToHost),
             "reading a matrix");
  std::vector<float> values(static_cast<std::size_t>(lines * width));
  to_float(m.dtype, bytes.data(), values);
  for (std::int64_t i = 0; i < lines; ++i)
    for (std::int64_t j = 0; j < width; ++j)
      out[static_cast<std::size_t>(by_token ? i * width + j : j * lines + i)] =
          values[static_cast<std::size_t>(i * width + j)];
}

}  // namespace

RotatedActivations::RotatedActivations(const BenchCase& c)
    : rows_(c.rows),
      cols_(c.cols),
      tokens_(c.tokens),
      dtype_(c.dtype),
      layout_(c.layout),
      count_(static_cast<std::size_t>(
          rotated_copies((c.cols + c.rows) * c.tokens * dtype_bytes(c.dtype)))),
      x_step_(aligned_bytes(c.cols * c.tokens, c.dtype)),
      y_step_(aligned_bytes(c.rows * c.tokens, c.dtype)),
      x_(random_values(static_cast<std::int64_t>(count_ * x_step_) / dtype_bytes(c.dtype), c.dtype,
                       9)),
      y_(count_ * y_step_) {}

cuda::Matrix RotatedActivations::input(std::size_t i) const {
  return {x_.data() + i * x_step_, dtype_, tokens_, cols_, layout_, 0};
}

cuda::MutableMatrix RotatedActivations::output(std::size_t i) const {
  return {y_.data() + i * y_step_, dtype_, tokens_, rows_, layout_, 0};
}

double RotatedActivations::error(const SparseMatrix& matrix, const DeviceCall& call, int samples,
                                 cudaStream_t stream) const {
  const auto element = static_cast<std::size_t>(dtype_bytes(dtype_));
  const std::size_t bytes = static_cast<std::size_t>(tokens_ * rows_) * element;
  check_cuda(cudaMemsetAsync(y_.data(), kPoison, bytes, stream), "poisoning");
  call(0, stream);
  check_cuda(cudaStreamSynchronize(stream), "a product");
  if (has_poison(y_.data(), bytes, element, stream))
    return std::numeric_limits<double>::quiet_NaN();
  const cuda::Matrix input = this->input(0);
  const cuda::MutableMatrix output = this->output(0);
  return sampled_error(
      matrix, tokens_,
      [&](const OutputBlock& b, std::span<float> x, std::span<float> y) {
        read_block(input, b.token, b.tokens, 0, cols_, x);
        read_block(output, b.token, b.tokens, b.row, b.rows, y);
      },
      samples);
}

}  // namespace coppice::bench
