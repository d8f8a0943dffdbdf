#include <fmt/format.h>

#include "coppice/cuda_gradient.h"
#include "coppice/error.h"
#include "cuda/gradient/kept.h"

namespace coppice::cuda {
namespace {

void check_side(const char* name, const void* data, std::int64_t elements, Dtype dtype,
                std::uintptr_t alignment) {
  if (dtype != Dtype::f16 && dtype != Dtype::bf16 && dtype != Dtype::f32)
    throw InvalidArgument(
        fmt::format("{} of {}, needs to be F16, BF16 or F32", name, dtype_name(dtype)));
  if (data == nullptr && elements > 0) throw InvalidArgument(fmt::format("{} without data", name));
  if (reinterpret_cast<std::uintptr_t>(data) % alignment != 0)
    throw InvalidArgument(fmt::format("{} needs to start on {} bytes", name, alignment));
}

void check_sides(const KeptDeviceView& kept, const void* values, Dtype values_dtype,
                 const void* dense, Dtype dense_dtype) {
  if (kept.rows < 0 || kept.kept < 0 || kept.kept > kept.cols || kept.cols > 65536 ||
      kept.rows * kept.cols > std::int64_t{1} << 37 || kept.rows > std::int64_t{1} << 30)
    throw InvalidArgument(
        fmt::format("{} kept of {} x {}: at most 65536 columns, 2^30 rows and 2^37 weights, and no "
                    "more kept than columns",
                    kept.kept, kept.rows, kept.cols));
  check_side("the values", values, kept.rows * kept.kept, values_dtype,
             static_cast<std::uintptr_t>(dtype_bytes(values_dtype)));
  check_side("the dense weight", dense, kept.rows * kept.cols, dense_dtype, 16);
  if (kept.columns == nullptr && kept.rows * kept.kept > 0)
    throw InvalidArgument("kept columns without data");
}

}  // namespace

void scatter_kept(const KeptDeviceView& kept, const void* values, Dtype values_dtype, void* dense,
                  Dtype dense_dtype, CUstream_st* stream) {
  check_sides(kept, values, values_dtype, dense, dense_dtype);
  if (kept.rows > 0 && kept.cols > 0)
    launch_scatter_kept(kept, values, values_dtype, dense, dense_dtype, stream);
}

void gather_kept(const KeptDeviceView& kept, const void* dense, Dtype dense_dtype, void* values,
                 Dtype values_dtype, CUstream_st* stream) {
  check_sides(kept, values, values_dtype, dense, dense_dtype);
  if (kept.rows > 0 && kept.kept > 0)
    launch_gather_kept(kept, dense, dense_dtype, values, values_dtype, stream);
}

}  // namespace coppice::cuda
