#include "coppice/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "coppice/error.h"

namespace coppice {
namespace {

// Segment lengths, checked; {size} if there are none.
std::vector<std::int64_t> segments_of(const std::vector<std::int64_t>& given, std::int64_t size,
                                      const char* what) {
  if (size < 0) throw InvalidArgument(fmt::format("{} is {}, needs to be 0 or more", what, size));
  if (given.empty()) return {size};
  std::int64_t left = size;
  for (std::int64_t length : given) {
    if (length < 0 || length > left)
      throw InvalidArgument(fmt::format("segments of {} do not sum to {}", what, size));
    left -= length;
  }
  if (left != 0) throw InvalidArgument(fmt::format("segments of {} do not sum to {}", what, size));
  return given;
}

std::int64_t bytes_for_bits(std::int64_t bits) { return (bits + 7) / 8; }

}  // namespace

ChoiceCode choice_code(int kept, int of) {
  int bits = std::bit_width(static_cast<unsigned>(of - 1));
  return {bits, bits * kept > of};
}

Grid::Grid(const Pattern& pattern, WeightShape shape)
    : pattern_(Pattern::make(pattern.vec_rows, pattern.block_cols, pattern.kept, pattern.group,
                             pattern.inner_kept)),
      shape_(std::move(shape)) {
  const auto row_segments = segments_of(shape_.row_segments, shape_.rows, "rows");
  const auto col_segments = segments_of(shape_.col_segments, shape_.cols, "cols");
  if (shape_.rows > 0 && shape_.cols > std::numeric_limits<std::int64_t>::max() / 64 / shape_.rows)
    throw InvalidArgument(
        fmt::format("a weight of {} x {} is too large", shape_.rows, shape_.cols));

  std::int64_t row = 0;
  for (std::int64_t length : row_segments) {
    for (std::int64_t end = row + length; row < end;) {
      auto rows = static_cast<std::int32_t>(std::min<std::int64_t>(pattern_.vec_rows, end - row));
      vectors_.push_back({row, rows});
      row += rows;
    }
  }

  // Plain 2:4 is V:2:4: every column stays alive and the row chooses.
  const bool row_choice = has_metadata();
  const int outer_kept = pattern_.is_two_four() ? pattern_.group : pattern_.kept;
  const int row_kept = pattern_.is_two_four() ? pattern_.kept : pattern_.inner_kept;
  if (has_columns()) column_code_ = choice_code(pattern_.kept, pattern_.group);
  if (row_choice) metadata_code_ = choice_code(row_kept, outer_kept);

  std::int64_t col = 0, column_bits = 0, metadata_bits = 0;
  auto add_group = [&](std::int32_t blocks, std::int32_t block_cols) {
    ColumnGroup g;
    g.col = col;
    g.cols = blocks * block_cols;
    g.block_cols = block_cols;
    g.blocks = blocks;
    g.kept_blocks = std::min(outer_kept, blocks);
    g.kept_cols = g.kept_blocks * block_cols;
    g.kept = row_choice ? std::min(row_kept, g.kept_cols) : g.kept_cols;
    g.value = kept_;
    g.live_col = live_cols_;
    g.column_bit = column_bits;
    g.metadata_bit = metadata_bits;
    groups_.push_back(g);
    col += g.cols;
    kept_ += g.kept;
    live_cols_ += g.kept_cols;
    if (has_columns()) column_bits += column_code_.size(g.kept_blocks, blocks);
    if (row_choice) metadata_bits += metadata_code_.size(g.kept, g.kept_cols);
  };
  for (std::int64_t length : col_segments) {
    std::int64_t blocks = length / pattern_.block_cols;
    auto narrow = static_cast<std::int32_t>(length % pattern_.block_cols);
    while (blocks > 0) {
      auto in_group = static_cast<std::int32_t>(std::min<std::int64_t>(pattern_.group, blocks));
      add_group(in_group, pattern_.block_cols);
      blocks -= in_group;
    }
    if (narrow > 0) add_group(1, narrow);
  }
  column_bytes_ = bytes_for_bits(column_bits);
  metadata_bytes_ = bytes_for_bits(metadata_bits);
}

std::int64_t Grid::vector_of(std::int64_t row) const {
  auto it = std::ranges::upper_bound(vectors_, row, {}, &RowVector::row);
  return it - vectors_.begin() - 1;
}

std::int64_t Grid::group_of(std::int64_t col) const {
  auto it = std::ranges::upper_bound(groups_, col, {}, &ColumnGroup::col);
  return it - groups_.begin() - 1;
}

bool Grid::has_metadata() const { return pattern_.is_two_four() || pattern_.has_inner(); }
bool Grid::has_columns() const { return !pattern_.is_dense() && !pattern_.is_two_four(); }

std::int64_t Grid::own_bytes(Dtype dtype) const {
  return values_bytes(dtype) + columns_bytes() + metadata_bytes();
}

double Grid::bits_per_weight(Dtype dtype) const {
  double weights = static_cast<double>(rows()) * static_cast<double>(cols());
  return weights == 0 ? 0 : 8.0 * static_cast<double>(own_bytes(dtype)) / weights;
}

double Grid::density() const {
  return cols() == 0 ? 1 : static_cast<double>(kept_) / static_cast<double>(cols());
}

}  // namespace coppice
