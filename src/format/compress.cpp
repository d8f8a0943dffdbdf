#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "coppice/error.h"
#include "coppice/permutation.h"
#include "format/checks.h"
#include "format/choice_code.h"
#include "format/choice_set.h"
#include "format/nonzero.h"
#include "format/ordered_ranges.h"

namespace coppice {
namespace {

// What one call compresses. `subject` is what a message calls the thing that breaks the pattern.
struct Task {
  const DenseView& dense;
  const Mask& mask;
  SparseMatrix& out;
  std::string_view subject;

  const Grid& grid() const { return *out.grid; }
};

[[noreturn]] void fail(const Task& task, const std::string& place, const ColumnGroup& group,
                       std::int64_t count, const char* things, int fit) {
  const char* order = task.out.input_permutation.empty() ? "" : " in permuted order";
  throw InvalidArgument(fmt::format(
      "{} breaks {}: {}, group {} (columns {} to {}{}) keeps {} {}, at most {} fit; "
      "prune to the pattern first, or detect which one the weight has",
      task.subject, task.grid().pattern().to_string(), place, task.grid().group_of(group.col),
      group.col, group.col + group.cols - 1, order, count, things, fit));
}

// Copies the weights at `columns` of a row.
template <typename T>
void copy_weights(const std::byte* row, std::span<const std::int32_t> columns, std::byte* out) {
  for (std::int32_t col : columns) {
    std::memcpy(out, row + static_cast<std::size_t>(col) * sizeof(T), sizeof(T));
    out += sizeof(T);
  }
}

// The same, with +0 for the columns that the mask clears (filled places of under-full groups).
template <typename T>
void copy_masked(const std::byte* row, std::span<const std::uint64_t> mask_row,
                 std::span<const std::int32_t> columns, std::byte* out) {
  for (std::int32_t col : columns) {
    T weight;
    std::memcpy(&weight, row + static_cast<std::size_t>(col) * sizeof(T), sizeof(T));
    const std::uint64_t keep = mask_row[static_cast<std::size_t>(col >> 6)] >> (col & 63) & 1;
    weight = static_cast<T>(weight & (T{0} - static_cast<T>(keep)));
    std::memcpy(out, &weight, sizeof(T));
    out += sizeof(T);
  }
}

// Compresses vector after vector; one object per thread.
class VectorCompressor {
 public:
  explicit VectorCompressor(const Task& task);
  void run(std::int64_t vector);

 private:
  void merge_masks(const RowVector& vector);
  void choose_columns(std::int64_t vector);
  void choose_weights(std::int64_t row);
  ChoiceSet row_choice(std::span<const std::uint64_t> mask_row, const ColumnGroup& group) const;
  void copy_row(std::int64_t row, std::span<const std::int32_t> columns) const;

  const Task& task_;
  const Grid& grid_;
  std::span<const std::uint32_t> permutation_;
  std::vector<std::uint64_t> alive_;   // columns that some row of the vector keeps, in grid order
  std::vector<std::uint64_t> merged_;  // the same in original order, if there is a permutation
  std::vector<std::int32_t> live_;     // columns alive in the vector: [live_cols()], original order
  std::vector<std::int32_t> kept_;     // columns kept by the row: [kept()], original order
};

VectorCompressor::VectorCompressor(const Task& task)
    : task_(task),
      grid_(task.grid()),
      permutation_(task.out.input_permutation),
      live_(static_cast<std::size_t>(grid_.live_cols())) {
  if (grid_.has_metadata()) kept_.resize(static_cast<std::size_t>(grid_.kept()));
  const auto words = static_cast<std::size_t>((grid_.cols() + 63) / 64);
  if (grid_.has_columns()) {
    alive_.resize(words);
    if (!permutation_.empty()) merged_.resize(words);
  } else if (permutation_.empty()) {
    std::iota(live_.begin(), live_.end(), 0);
  } else {
    std::ranges::copy(permutation_, live_.begin());
  }
}

void VectorCompressor::run(std::int64_t vector) {
  const RowVector rows = grid_.vectors()[static_cast<std::size_t>(vector)];
  if (grid_.has_columns()) {
    merge_masks(rows);
    choose_columns(vector);
  }
  for (std::int64_t row = rows.row; row < rows.row + rows.rows; ++row) {
    if (grid_.has_metadata()) choose_weights(row);
    copy_row(row, grid_.has_metadata() ? kept_ : live_);
  }
}

// alive_ = OR of the mask rows of the vector, in grid order.
void VectorCompressor::merge_masks(const RowVector& vector) {
  merge_rows(task_.mask, vector, permutation_.empty() ? alive_ : merged_);
  if (permutation_.empty()) return;
  std::ranges::fill(alive_, 0);
  for (std::size_t c = 0; c < permutation_.size(); ++c) {
    const std::uint32_t from = permutation_[c];
    alive_[c >> 6] |= (merged_[from >> 6] >> (from & 63) & 1) << (c & 63);
  }
}

// The vector's choice of blocks: fills it up, writes it to `columns` and lists its columns in
// live_.
void VectorCompressor::choose_columns(std::int64_t vector) {
  const ChoiceCode code = grid_.column_code();
  BitWriter writer(task_.out.columns.data() + vector * grid_.column_bytes_per_vector());
  std::int32_t* live = live_.data();
  for (const ColumnGroup& group : grid_.groups()) {
    ChoiceSet chosen = ChoiceSet::blocks(alive_, group);
    const int count = chosen.count();
    if (count > group.kept_blocks) [[unlikely]] {
      const RowVector rows = grid_.vectors()[static_cast<std::size_t>(vector)];
      const bool single = grid_.pattern().vec_rows == 1;
      fail(task_,
           single ? fmt::format("row {}", rows.row)
                  : fmt::format("vector {} (rows {} to {})", vector, rows.row,
                                rows.row + rows.rows - 1),
           group, count,
           group.block_cols > 1 ? "blocks"
           : single             ? "weights"
                                : "columns",
           group.kept_blocks);
    }
    if (count < group.kept_blocks) chosen.add_lowest(group.kept_blocks - count);
    chosen.write(writer, code);
    chosen.for_each([&](int block) {
      const auto first = static_cast<std::int32_t>(group.col) + block * group.block_cols;
      for (std::int32_t c = 0; c < group.block_cols; ++c) *live++ = first + c;
    });
  }
  writer.finish();
  if (permutation_.empty()) return;
  for (std::int32_t& col : live_)
    col = static_cast<std::int32_t>(permutation_[static_cast<std::size_t>(col)]);
}

// The places among the group's live columns that a row keeps.
ChoiceSet VectorCompressor::row_choice(std::span<const std::uint64_t> mask_row,
                                       const ColumnGroup& group) const {
  if (!grid_.has_columns() && permutation_.empty()) return ChoiceSet::columns(mask_row, group);
  return ChoiceSet::of_columns(mask_row,
                               std::span(live_).subspan(static_cast<std::size_t>(group.live_col),
                                                        static_cast<std::size_t>(group.kept_cols)));
}

// The row's choice of live columns: fills it up, writes it to `metadata` and lists its columns in
// kept_.
void VectorCompressor::choose_weights(std::int64_t row) {
  const ChoiceCode code = grid_.metadata_code();
  const auto mask_row = task_.mask.row(row);
  BitWriter writer(task_.out.metadata.data() + row * grid_.metadata_bytes_per_row());
  std::int32_t* kept = kept_.data();
  for (const ColumnGroup& group : grid_.groups()) {
    ChoiceSet chosen = row_choice(mask_row, group);
    const int count = chosen.count();
    if (count > group.kept) [[unlikely]]
      fail(task_, fmt::format("row {}", row), group, count, "weights", group.kept);
    if (count < group.kept) chosen.add_lowest(group.kept - count);
    chosen.write(writer, code);
    const std::int32_t* live = live_.data() + group.live_col;
    chosen.for_each([&](int place) { *kept++ = live[place]; });
  }
  writer.finish();
}

void VectorCompressor::copy_row(std::int64_t row, std::span<const std::int32_t> columns) const {
  const std::byte* in = task_.dense.row(row);
  const int width = dtype_bytes(task_.dense.dtype);
  std::byte* out = task_.out.values.data() + row * grid_.kept() * width;
  const auto mask_row = task_.mask.row(row);
  std::int64_t set = 0;
  for (std::uint64_t word : mask_row) set += std::popcount(word);
  // All set bits are among `columns` (checked above), so equal counts mean that none is a filling.
  if (set == grid_.kept()) {
    if (width == 4) return copy_weights<std::uint32_t>(in, columns, out);
    if (width == 2) return copy_weights<std::uint16_t>(in, columns, out);
    return copy_weights<std::uint8_t>(in, columns, out);
  }
  if (width == 4) return copy_masked<std::uint32_t>(in, mask_row, columns, out);
  if (width == 2) return copy_masked<std::uint16_t>(in, mask_row, columns, out);
  copy_masked<std::uint8_t>(in, mask_row, columns, out);
}

SparseMatrix compress_named(const DenseView& dense, const Mask& mask, const Pattern& pattern,
                            const CompressOptions& options, std::string_view subject) {
  SparseMatrix out;
  out.grid = std::make_shared<const Grid>(
      pattern, WeightShape{dense.rows, dense.cols, options.row_segments, options.col_segments});
  out.dtype = dense.dtype;
  out.input_permutation = options.input_permutation;
  out.values.resize(static_cast<std::size_t>(out.grid->values_bytes(out.dtype)));
  out.columns.resize(static_cast<std::size_t>(out.grid->columns_bytes()));
  out.metadata.resize(static_cast<std::size_t>(out.grid->metadata_bytes()));
  check_sizes(out.view());
  if (!out.input_permutation.empty())
    check_permutation(out.input_permutation, dense.cols, "input_permutation");

  const Task task{dense, mask, out, subject};
  ordered_ranges(std::ssize(out.grid->vectors()), options.threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   VectorCompressor compressor(task);
                   for (std::int64_t v = begin; v < end; ++v) compressor.run(v);
                 });
  return out;
}

}  // namespace

SparseMatrix compress(const DenseView& dense, const Mask& mask, const Pattern& pattern,
                      const CompressOptions& options) {
  check_dense(dense, "the weight");
  if (mask.rows() != dense.rows || mask.cols() != dense.cols)
    throw InvalidArgument(fmt::format("mask is {} x {}, needs the weight's {} x {}", mask.rows(),
                                      mask.cols(), dense.rows, dense.cols));
  return compress_named(dense, mask, pattern, options, "mask");
}

SparseMatrix compress(const DenseView& dense, const Pattern& pattern,
                      const CompressOptions& options) {
  check_dense(dense, "the weight");
  return compress_named(dense, nonzero_mask(dense, options.threads), pattern, options, "weight");
}

}  // namespace coppice
