#include <cmath>

#include "bench/cuda/gemv.h"

namespace coppice::bench {
namespace {

std::vector<float> read(const std::byte* device, std::int64_t count, Dtype dtype) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(count * dtype_bytes(dtype)));
  check_cuda(cudaMemcpy(bytes.data(), device, bytes.size(), cudaMemcpyDeviceToHost), "reading");
  std::vector<float> values(static_cast<std::size_t>(count));
  to_float(dtype, bytes.data(), values);
  return values;
}

constexpr int kPoison = 0xFF;          // a NaN in every type
constexpr std::int64_t kSampled = 64;  // rows at either end that are checked

}  // namespace

bool gemv_takes(const DenseProblem& p) {
  return (p.dtype == Dtype::f16 || p.dtype == Dtype::bf16 || p.dtype == Dtype::f32) &&
         p.tokens >= 1 && p.tokens <= kGemvTokens && p.rows >= 1 && p.cols >= 1 &&
         p.cols * dtype_bytes(p.dtype) % 16 == 0;
}

GemvArguments GemvProduct::arguments(int call) const {
  const std::size_t n = operands_.turn(call);
  return {operands_.w[n], operands_.x[n].data(), operands_.y[n].data(),
          problem_.rows,  problem_.cols,         static_cast<int>(problem_.tokens)};
}

DeviceCall GemvProduct::call() const {
  return [this](int i, cudaStream_t stream) { launch_gemv(problem_.dtype, arguments(i), stream); };
}

double GemvProduct::error(cudaStream_t stream) const {
  const DenseProblem& p = problem_;
  check_cuda(cudaMemsetAsync(operands_.y[0].data(), kPoison,
                             static_cast<std::size_t>(p.output_bytes()), stream),
             "poisoning");
  launch_gemv(p.dtype, arguments(0), stream);
  check_cuda(cudaStreamSynchronize(stream), "a dense product");
  const auto x = read(operands_.x[0].data(), p.cols * p.tokens, p.dtype);
  const auto y = read(operands_.y[0].data(), p.rows * p.tokens, p.dtype);
  const std::int64_t count = std::min(p.rows, kSampled);
  double error = 0, norm = 0;
  for (const std::int64_t first : {std::int64_t{0}, p.rows - count}) {
    const auto w =
        read(operands_.w[0] + first * p.cols * dtype_bytes(p.dtype), count * p.cols, p.dtype);
    for (std::int64_t i = 0; i < count * p.tokens; ++i) {
      const std::int64_t row = i % count, token = i / count;
      double sum = 0;
      for (std::int64_t c = 0; c < p.cols; ++c)
        sum += double{w[static_cast<std::size_t>(row * p.cols + c)]} *
               double{x[static_cast<std::size_t>(token * p.cols + c)]};
      const double difference =
          double{y[static_cast<std::size_t>(token * p.rows + first + row)]} - sum;
      error += difference * difference;
      norm += sum * sum;
    }
  }
  return std::sqrt(error / norm);
}

}  // namespace coppice::bench
