#include "cuda/kernels/norm.h"

#include <fmt/format.h>

#include "coppice/cuda_norm.h"
#include "coppice/error.h"

namespace coppice::cuda {
namespace {

void check_input(const Matrix& x, const Normalization& norm) {
  if (x.tokens < 0 || x.features < 0 || x.major_stride() < x.features)
    throw InvalidArgument(fmt::format("a norm of [{} tokens, {} features] with a stride of {}",
                                      x.tokens, x.features, x.major_stride()));
  if (x.layout != Layout::token_major || (x.dtype != Dtype::f16 && x.dtype != Dtype::bf16))
    throw InvalidArgument(fmt::format(
        "a norm of {} {} activations, needs token-major F16 or BF16",
        x.layout == Layout::token_major ? "token-major" : "feature-major", dtype_name(x.dtype)));
  const bool layer = norm.kind == Normalization::Kind::layer;
  const bool known =
      norm.statistics.factor != nullptr && (!layer || norm.statistics.mean != nullptr);
  if (x.tokens > 0 && x.features > 0 && (x.data == nullptr || !known))
    throw InvalidArgument(x.data == nullptr ? "a norm without data"
                                            : "a norm without memory for its statistics");
}

void check_output(const Matrix& x, const MutableMatrix& y) {
  if (x.tokens != y.tokens || x.features != y.features)
    throw InvalidArgument(fmt::format(
        "a norm of [{} tokens, {} features] to [{} tokens, {} features]: shapes must be the same",
        x.tokens, x.features, y.tokens, y.features));
  if (y.layout != Layout::feature_major || y.dtype != x.dtype)
    throw InvalidArgument(fmt::format(
        "a norm of {} writes feature-major {}, got {} {}", dtype_name(x.dtype), dtype_name(x.dtype),
        y.layout == Layout::token_major ? "token-major" : "feature-major", dtype_name(y.dtype)));
  if (y.major_stride() < y.tokens)
    throw InvalidArgument(fmt::format("a norm of {} tokens with a stride of {} elements", y.tokens,
                                      y.major_stride()));
  if (y.data == nullptr && y.tokens > 0 && y.features > 0)
    throw InvalidArgument("a norm without memory for its output");
}

NormArguments arguments_of(const Matrix& x, const Normalization& norm) {
  NormArguments a;
  a.move.from = x.data;
  a.move.from_stride = x.major_stride();
  a.move.rows = x.tokens;
  a.move.cols = x.features;
  a.norm = norm;
  return a;
}

}  // namespace

void token_statistics(const Matrix& x, const Normalization& norm, Stream stream) {
  check_input(x, norm);
  if (x.tokens == 0 || x.features == 0) return;
  launch_token_statistics(arguments_of(x, norm), x.dtype, stream);
}

void normalize(const Matrix& x, const MutableMatrix& y, const Normalization& norm, Stream stream) {
  check_input(x, norm);
  check_output(x, y);
  if (x.tokens == 0 || x.features == 0) return;
  NormArguments a = arguments_of(x, norm);
  a.move.to = y.data;
  a.move.to_stride = y.major_stride();
  a.move.to_width = x.tokens;
  launch_norm(a, x.dtype, stream);
}

}  // namespace coppice::cuda
