// Finding NaN and infinity at the speed of memory: whole chunks are first tested with integer
// comparisons that vectorise, and only a chunk that holds one is searched.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>

#include "coppice/checkpoint.h"
#include "core/parallel_for.h"

namespace coppice {
namespace {

constexpr std::int64_t kChunk = 4096;

// True if an element's bits without the sign are at least `least`. Signed, because baseline x86
// compares signed integers only.
template <typename Int>
bool any_at_least(const std::byte* data, std::int64_t count, Int least) {
  constexpr Int kMagnitude = std::numeric_limits<Int>::max();
  Int buffer[kChunk];
  std::memcpy(buffer, data, static_cast<std::size_t>(count) * sizeof(Int));
  Int found = 0;
  for (std::int64_t i = 0; i < count; ++i)
    found = static_cast<Int>(found | ((buffer[i] & kMagnitude) >= least ? -1 : 0));
  return found != 0;
}

bool any_nonfinite(Dtype dtype, const std::byte* data, std::int64_t count) {
  switch (dtype) {
    case Dtype::f32:
      return any_at_least<std::int32_t>(data, count, 0x7f800000);
    case Dtype::bf16:
      return any_at_least<std::int16_t>(data, count, 0x7f80);
    case Dtype::f16:
      return any_at_least<std::int16_t>(data, count, 0x7c00);
    case Dtype::f8_e4m3:  // no infinity; the largest magnitude is NaN
      return any_at_least<std::int8_t>(data, count, 0x7f);
    default:
      return false;
  }
}

// Columns of the first nonfinite weight of a row, or `cols`.
std::int64_t search_row(const DenseView& dense, std::int64_t row) {
  const int bytes = dtype_bytes(dense.dtype);
  for (std::int64_t begin = 0; begin < dense.cols; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, dense.cols - begin);
    if (!any_nonfinite(dense.dtype, dense.row(row) + begin * bytes, count)) continue;
    std::int64_t col = begin;
    while (!any_nonfinite(dense.dtype, dense.row(row) + col * bytes, 1)) ++col;
    return col;
  }
  return dense.cols;
}

}  // namespace

std::optional<Nonfinite> find_nonfinite(const DenseView& dense, int threads) {
  if (!is_floating(dense.dtype) || dense.cols == 0) return std::nullopt;
  std::atomic<std::int64_t> first{dense.rows};  // the lowest row found so far
  const std::int64_t rows_per_task = std::max<std::int64_t>(1, (1 << 18) / dense.cols);
  const std::int64_t tasks = (dense.rows + rows_per_task - 1) / rows_per_task;
  parallel_for(tasks, threads, [&](std::int64_t task) {
    const std::int64_t end = std::min(dense.rows, (task + 1) * rows_per_task);
    for (std::int64_t row = task * rows_per_task; row < std::min(end, first.load()); ++row) {
      if (search_row(dense, row) == dense.cols) continue;
      std::int64_t known = first.load();
      while (row < known && !first.compare_exchange_weak(known, row)) {
      }
    }
  });
  if (first == dense.rows) return std::nullopt;
  const std::int64_t row = first, col = search_row(dense, row);
  std::uint32_t bits = 0;
  const auto bytes = static_cast<std::size_t>(dtype_bytes(dense.dtype));
  std::memcpy(&bits, dense.row(row) + col * static_cast<std::int64_t>(bytes), bytes);
  return Nonfinite{row, col, to_float(dense.dtype, bits)};
}

}  // namespace coppice
