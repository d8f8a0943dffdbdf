#include <fmt/format.h>

#include <cstring>

#include "coppice/error.h"
#include "core/parallel_for.h"
#include "format/checks.h"
#include "format/choice_code.h"

namespace coppice {
namespace {

template <typename T>
void scatter(const std::byte* in, std::span<const std::int32_t> columns, std::byte* row) {
  for (std::int32_t col : columns) {
    std::memcpy(row + static_cast<std::size_t>(col) * sizeof(T), in, sizeof(T));
    in += sizeof(T);
  }
}

void write_row(const SparseView& sparse, std::int64_t row, std::span<const std::int32_t> columns,
               std::byte* out) {
  const int width = dtype_bytes(sparse.dtype);
  const std::byte* in = sparse.values.data() + row * sparse.grid->kept() * width;
  std::memset(out, 0, static_cast<std::size_t>(sparse.grid->cols() * width));
  if (width == 4) return scatter<std::uint32_t>(in, columns, out);
  if (width == 2) return scatter<std::uint16_t>(in, columns, out);
  scatter<std::uint8_t>(in, columns, out);
}

// Calls body(row, columns of its stored weights in original order) for all rows.
template <typename Body>
void for_each_row(const SparseView& sparse, int threads, const Body& body) {
  const auto vectors = sparse.grid->vectors();
  parallel_ranges(std::ssize(vectors), threads, [&](std::int64_t begin, std::int64_t end, int) {
    StoredColumns stored(sparse);
    for (std::int64_t v = begin; v < end; ++v) {
      stored.seek(v);
      const RowVector rows = vectors[static_cast<std::size_t>(v)];
      for (std::int64_t r = rows.row; r < rows.row + rows.rows; ++r) body(r, stored.row(r));
    }
  });
}

}  // namespace

void decompress(const SparseView& sparse, const MutableDenseView& out, int threads) {
  check_sizes(sparse);
  check_dense(out, "the output");
  if (out.dtype != sparse.dtype || out.rows != sparse.grid->rows() ||
      out.cols != sparse.grid->cols())
    throw InvalidArgument(fmt::format(
        "output is {} x {} in {}, needs the weight's {} x {} in {}", out.rows, out.cols,
        dtype_name(out.dtype), sparse.grid->rows(), sparse.grid->cols(), dtype_name(sparse.dtype)));
  if (out.cols == 0) return;
  for_each_row(sparse, threads, [&](std::int64_t row, std::span<const std::int32_t> columns) {
    write_row(sparse, row, columns, out.row(row));
  });
}

Mask stored_mask(const SparseView& sparse) {
  check_sizes(sparse);
  Mask mask(sparse.grid->rows(), sparse.grid->cols());
  for_each_row(sparse, 1, [&](std::int64_t row, std::span<const std::int32_t> columns) {
    for (std::int32_t col : columns) mask.set(row, col);
  });
  return mask;
}

}  // namespace coppice
