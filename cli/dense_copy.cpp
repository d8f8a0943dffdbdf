#include "dense_copy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "core/parallel_for.h"

namespace coppice::cli {

DenseCopy copy_of(const DenseView& dense, int threads) {
  const auto row_bytes = static_cast<std::size_t>(dense.cols * dtype_bytes(dense.dtype));
  DenseCopy copy;
  copy.bytes =
      std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(dense.rows) * row_bytes);
  copy.view = {copy.bytes.get(), dense.dtype, dense.rows, dense.cols, 0};
  parallel_ranges(dense.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r)
      std::memcpy(copy.view.row(r), dense.row(r), row_bytes);
  });
  return copy;
}

std::vector<float> finite_scores(const DenseView& dense) {
  std::vector<float> scores(static_cast<std::size_t>(dense.rows * dense.cols));
  float largest = 0;
  for (std::int64_t r = 0; r < dense.rows; ++r) {
    auto row = std::span(scores).subspan(static_cast<std::size_t>(r * dense.cols),
                                         static_cast<std::size_t>(dense.cols));
    to_float(dense.dtype, dense.row(r), row);
    for (float value : row)
      if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
  }
  float above = largest > 0 ? std::min(2 * largest, 1e30f) : 1.0f;
  for (float& value : scores)
    if (!std::isfinite(value)) value = above;
  return scores;
}

}  // namespace coppice::cli
