#include "cuda/kernels/transpose.h"

#include <fmt/format.h>

#include "coppice/cuda.h"
#include "coppice/error.h"

namespace coppice::cuda {

void transpose(const Matrix& from, const MutableMatrix& to, Stream stream) {
  if (from.tokens != to.tokens || from.features != to.features || from.tokens < 0 ||
      from.features < 0)
    throw InvalidArgument(fmt::format(
        "a transpose of [{} tokens, {} features] to [{} tokens, {} features]: shapes must "
        "be the same",
        from.tokens, from.features, to.tokens, to.features));
  if (from.layout == to.layout)
    throw InvalidArgument("a transpose of activations to the layout that they have: copy them");
  const int bytes = dtype_bytes(from.dtype);
  if (from.dtype != to.dtype || (bytes != 2 && bytes != 4))
    throw InvalidArgument(fmt::format("a transpose of {} to {}, needs two of F16, BF16 or F32",
                                      dtype_name(from.dtype), dtype_name(to.dtype)));
  const bool token_major = from.layout == Layout::token_major;
  TransposeArguments t;
  t.rows = token_major ? from.tokens : from.features;
  t.cols = token_major ? from.features : from.tokens;
  if (from.major_stride() < t.cols || to.major_stride() < t.rows)
    throw InvalidArgument(
        fmt::format("a transpose of [{} tokens, {} features] with strides of {} and {} elements",
                    from.tokens, from.features, from.major_stride(), to.major_stride()));
  if (t.rows == 0 || t.cols == 0) return;
  if (from.data == nullptr || to.data == nullptr) throw InvalidArgument("a transpose without data");
  t.from = from.data;
  t.from_stride = from.major_stride();
  t.to = to.data;
  t.to_stride = to.major_stride();
  t.to_width = t.rows;
  launch_transpose(t, bytes, stream);
}

}  // namespace coppice::cuda
