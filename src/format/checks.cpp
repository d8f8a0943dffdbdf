#include "format/checks.h"

#include <fmt/format.h>

#include <limits>
#include <vector>

#include "coppice/error.h"

namespace coppice {
namespace {

void check_weight_dtype(Dtype dtype) {
  if (!is_weight_dtype(dtype))
    throw InvalidArgument(
        fmt::format("dtype {} cannot be compressed; convert to F32, F16, BF16, F8_E4M3 or I8",
                    dtype_name(dtype)));
}

void check_bytes(std::string_view array, std::int64_t got, std::int64_t needed, const Grid& grid) {
  if (got != needed)
    throw InvalidArgument(fmt::format("{} has {} bytes, a weight of {} x {} in {} needs {}", array,
                                      got, grid.rows(), grid.cols(), grid.pattern().to_string(),
                                      needed));
}

}  // namespace

void check_dense(const DenseView& dense, std::string_view what) {
  check_weight_dtype(dense.dtype);
  if (dense.rows < 0 || dense.cols < 0)
    throw InvalidArgument(
        fmt::format("{} is {} x {}; sizes need to be 0 or more", what, dense.rows, dense.cols));
  if (dense.stride() < dense.cols)
    throw InvalidArgument(
        fmt::format("{} has rows {} elements apart, needs at least its {} columns", what,
                    dense.stride(), dense.cols));
  if (dense.data == nullptr && dense.rows > 0 && dense.cols > 0)
    throw InvalidArgument(fmt::format("{} has no data", what));
}

void check_sizes(const SparseView& sparse) {
  if (sparse.grid == nullptr) throw InvalidArgument("sparse weight without a grid");
  const Grid& grid = *sparse.grid;
  check_weight_dtype(sparse.dtype);
  if (grid.cols() > std::numeric_limits<std::int32_t>::max())
    throw InvalidArgument(
        fmt::format("a weight of {} columns is too wide, at most 2^31 - 1", grid.cols()));
  check_bytes("values", std::ssize(sparse.values), grid.values_bytes(sparse.dtype), grid);
  check_bytes("columns", std::ssize(sparse.columns), grid.columns_bytes(), grid);
  check_bytes("metadata", std::ssize(sparse.metadata), grid.metadata_bytes(), grid);
}

}  // namespace coppice
