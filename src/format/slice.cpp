#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "coppice/error.h"
#include "format/checks.h"
#include "format/choice_code.h"

namespace coppice {
namespace {

// The part of the segments that lies in [begin, end); empty if that is at most one.
std::vector<std::int64_t> cut_segments(const std::vector<std::int64_t>& segments,
                                       std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> cut;
  std::int64_t start = 0;
  for (std::int64_t length : segments) {
    const std::int64_t inside = std::min(start + length, end) - std::max(start, begin);
    if (inside > 0) cut.push_back(inside);
    start += length;
  }
  if (cut.size() <= 1) cut.clear();
  return cut;
}

void check_range(std::int64_t begin, std::int64_t end, std::int64_t size, const char* what) {
  if (begin < 0 || begin > end || end > size)
    throw InvalidArgument(
        fmt::format("{} {} to {} are not in the weight, which has {}", what, begin, end, size));
}

std::vector<std::byte> part(std::span<const std::byte> bytes, std::int64_t begin,
                            std::int64_t end) {
  return {bytes.begin() + begin, bytes.begin() + end};
}

// Some consecutive bytes or bits of a row.
struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
};

// Cuts a range of bits out of each of `count` equal parts of `in`; in the result each starts on a
// byte again.
std::vector<std::byte> cut_bits(std::span<const std::byte> in, std::int64_t in_bytes,
                                std::int64_t count, Range bits, std::int64_t out_bytes) {
  std::vector<std::byte> out(static_cast<std::size_t>(count * out_bytes));
  if (out_bytes == 0) return out;
  for (std::int64_t i = 0; i < count; ++i)
    copy_bits(in.subspan(static_cast<std::size_t>(i * in_bytes)), bits.begin, bits.size(),
              out.data() + i * out_bytes);
  return out;
}

// The same for bytes.
std::vector<std::byte> cut_bytes(std::span<const std::byte> in, std::int64_t in_bytes,
                                 std::int64_t count, Range bytes) {
  std::vector<std::byte> out(static_cast<std::size_t>(count * bytes.size()));
  if (bytes.size() == 0) return out;
  for (std::int64_t i = 0; i < count; ++i)
    std::memcpy(out.data() + i * bytes.size(), in.data() + i * in_bytes + bytes.begin,
                static_cast<std::size_t>(bytes.size()));
  return out;
}

// The vector that starts at a row; the number of vectors for the end of the matrix.
std::int64_t starting_vector(const Grid& grid, std::int64_t row) {
  if (row == grid.rows()) return std::ssize(grid.vectors());
  const std::int64_t vector = grid.vector_of(row);
  const std::int64_t start = grid.vectors()[static_cast<std::size_t>(vector)].row;
  if (start != row)
    throw InvalidArgument(
        fmt::format("cannot cut at row {}: it lies in vector {}, which starts at "
                    "row {}; cut where a vector starts",
                    row, vector, start));
  return vector;
}

// The group that starts at a column; the number of groups for the end of the matrix.
std::int64_t starting_group(const Grid& grid, std::int64_t col) {
  if (col == grid.cols()) return std::ssize(grid.groups());
  const std::int64_t group = grid.group_of(col);
  const std::int64_t start = grid.groups()[static_cast<std::size_t>(group)].col;
  if (start != col)
    throw InvalidArgument(
        fmt::format("cannot cut at column {}: it lies in group {}, which starts "
                    "at column {}; cut where a group starts",
                    col, group, start));
  return group;
}

}  // namespace

SparseMatrix slice_rows(const SparseView& sparse, std::int64_t begin, std::int64_t end) {
  check_sizes(sparse);
  const Grid& grid = *sparse.grid;
  check_range(begin, end, grid.rows(), "rows");
  const std::int64_t first = starting_vector(grid, begin), last = starting_vector(grid, end);
  const std::int64_t row_bytes = grid.kept() * dtype_bytes(sparse.dtype);

  SparseMatrix out;
  const WeightShape& shape = grid.shape();
  out.grid = std::make_shared<const Grid>(
      grid.pattern(),
      WeightShape{end - begin, shape.cols, cut_segments(shape.row_segments, begin, end),
                  shape.col_segments});
  out.dtype = sparse.dtype;
  out.values = part(sparse.values, begin * row_bytes, end * row_bytes);
  out.columns = part(sparse.columns, first * grid.column_bytes_per_vector(),
                     last * grid.column_bytes_per_vector());
  out.metadata = part(sparse.metadata, begin * grid.metadata_bytes_per_row(),
                      end * grid.metadata_bytes_per_row());
  out.input_permutation.assign(sparse.input_permutation.begin(), sparse.input_permutation.end());
  return out;
}

SparseMatrix slice_cols(const SparseView& sparse, std::int64_t begin, std::int64_t end) {
  check_sizes(sparse);
  const Grid& grid = *sparse.grid;
  if (!sparse.input_permutation.empty())
    throw InvalidArgument(
        "cannot cut columns of a weight with an input permutation; decompress it "
        "and compress the part");
  check_range(begin, end, grid.cols(), "columns");
  const std::int64_t first = starting_group(grid, begin), last = starting_group(grid, end);

  SparseMatrix out;
  const WeightShape& shape = grid.shape();
  out.grid = std::make_shared<const Grid>(
      grid.pattern(), WeightShape{shape.rows, end - begin, shape.row_segments,
                                  cut_segments(shape.col_segments, begin, end)});
  out.dtype = sparse.dtype;
  if (first == last) return out;  // no columns, so no bytes

  const ColumnGroup& from = grid.groups()[static_cast<std::size_t>(first)];
  const ColumnGroup& to = grid.groups()[static_cast<std::size_t>(last - 1)];
  const int width = dtype_bytes(sparse.dtype);
  out.values = cut_bytes(sparse.values, grid.kept() * width, grid.rows(),
                         {from.value * width, (to.value + to.kept) * width});
  out.columns = cut_bits(
      sparse.columns, grid.column_bytes_per_vector(), std::ssize(grid.vectors()),
      {from.column_bit, to.column_bit + grid.column_code().size(to.kept_blocks, to.blocks)},
      out.grid->column_bytes_per_vector());
  out.metadata = cut_bits(
      sparse.metadata, grid.metadata_bytes_per_row(), grid.rows(),
      {from.metadata_bit, to.metadata_bit + grid.metadata_code().size(to.kept, to.kept_cols)},
      out.grid->metadata_bytes_per_row());
  return out;
}

}  // namespace coppice
