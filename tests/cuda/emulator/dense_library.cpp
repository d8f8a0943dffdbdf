// In place of src/cuda/unpack/dense_library.cpp: dense products by loops, for the kernels that
// prepare and finish them.
#include "cuda/unpack/dense_library.h"

#include <vector>

#include "coppice/cuda_libraries.h"

namespace coppice::cuda {
namespace {

DenseRoutines no_routines;

std::vector<float> floats(const void* data, Dtype dtype, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  to_float(dtype, static_cast<const std::byte*>(data), values);
  return values;
}

}  // namespace

DenseLibrary* DenseLibrary::of_current_device() {
  static DenseLibrary library(no_routines, nullptr);
  return &library;
}

bool has_dense_library() { return true; }

bool DenseLibrary::can_multiply(const DenseProblem&) { return true; }

void DenseLibrary::multiply(const DenseProblem& p, const DenseOperands& o, cudaStream_t) {
  const auto place = [](bool token_major, std::int64_t stride, std::int64_t t, std::int64_t f) {
    return static_cast<std::size_t>(token_major ? t * stride + f : f * stride + t);
  };
  const auto end = [&](bool token_major, std::int64_t stride, std::int64_t features) {
    return static_cast<std::int64_t>(place(token_major, stride, p.tokens - 1, features - 1)) + 1;
  };
  const std::vector<float> w = floats(o.w, p.dtype, (p.rows - 1) * p.w_stride + p.cols);
  const std::vector<float> x = floats(o.x, p.dtype, end(p.x_token_major, p.x_stride, p.cols));
  const std::int64_t y_count = end(p.y_token_major, p.y_stride, p.rows);
  const std::vector<float> c = p.adds ? floats(o.c, p.out, y_count) : std::vector<float>();
  const std::vector<float> bias = p.biased ? floats(o.bias, p.out, p.rows) : std::vector<float>();
  for (std::int64_t row = 0; row < p.rows; ++row)
    for (std::int64_t t = 0; t < p.tokens; ++t) {
      double sum = 0;
      for (std::int64_t col = 0; col < p.cols; ++col)
        sum += double{w[static_cast<std::size_t>(row * p.w_stride + col)]} *
               x[place(p.x_token_major, p.x_stride, t, col)];
      sum *= o.alpha;
      const std::size_t at = place(p.y_token_major, p.y_stride, t, row);
      if (p.adds) sum += c[at];
      if (p.biased) sum += bias[static_cast<std::size_t>(row)];
      const auto one = static_cast<float>(sum);
      from_float(p.out, {&one, 1},
                 static_cast<std::byte*>(o.y) + at * static_cast<std::size_t>(dtype_bytes(p.out)));
    }
}

}  // namespace coppice::cuda
