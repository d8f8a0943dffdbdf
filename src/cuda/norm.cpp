#include "cuda/kernels/norm.h"

#include <fmt/format.h>

#include "coppice/cuda_norm.h"
#include "coppice/error.h"
#include "cuda/check.h"

namespace coppice::cuda {
namespace {

void check_operands(const Matrix& x, const MutableMatrix& y) {
  if (x.tokens != y.tokens || x.features != y.features || x.tokens < 0 || x.features < 0)
    throw InvalidArgument(fmt::format(
        "a norm of [{} tokens, {} features] to [{} tokens, {} features]: shapes must be the same",
        x.tokens, x.features, y.tokens, y.features));
  if (x.layout != Layout::token_major || y.layout != Layout::feature_major)
    throw InvalidArgument("a norm reads token-major and writes feature-major activations");
  if (x.dtype != y.dtype || (x.dtype != Dtype::f16 && x.dtype != Dtype::bf16))
    throw InvalidArgument(fmt::format("a norm of {} to {}, needs two of F16 or BF16",
                                      dtype_name(x.dtype), dtype_name(y.dtype)));
  if (x.major_stride() < x.features || y.major_stride() < y.tokens)
    throw InvalidArgument(
        fmt::format("a norm of [{} tokens, {} features] with strides of {} and {} elements",
                    x.tokens, x.features, x.major_stride(), y.major_stride()));
}

int multiprocessors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
        "asking for the number of multiprocessors");
  return count;
}

}  // namespace

void normalize(const Matrix& x, const MutableMatrix& y, const Normalization& norm, Stream stream) {
  check_operands(x, y);
  if (x.tokens == 0 || x.features == 0) return;
  if (x.data == nullptr || y.data == nullptr) throw InvalidArgument("a norm without data");
  NormArguments a;
  a.move.from = x.data;
  a.move.from_stride = x.major_stride();
  a.move.rows = x.tokens;
  a.move.cols = x.features;
  a.move.to = y.data;
  a.move.to_stride = y.major_stride();
  a.move.to_width = x.tokens;
  a.weight = norm.weight;
  a.bias = norm.bias;
  a.epsilon = norm.epsilon;
  a.rms = norm.kind == Normalization::Kind::rms;
  launch_norm(a, x.dtype, multiprocessors(), stream);
}

}  // namespace coppice::cuda
