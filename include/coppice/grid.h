// Grid: a pattern laid over one weight. All index arithmetic of the canonical form lives here,
// once: masks, compression, validation, packers and kernels read it and compute nothing of it
// themselves.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "coppice/dtype.h"
#include "coppice/pattern.h"

namespace coppice {

/// Shape of a weight, `[rows, cols]` = `[out_features, in_features]`. Segments are lengths that sum
/// to rows (cols); empty means one segment. Vectors restart at row segments, groups at column
/// segments.
struct WeightShape {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::int64_t> row_segments;
  std::vector<std::int64_t> col_segments;

  friend bool operator==(const WeightShape&, const WeightShape&) = default;
};

/// How a choice of some of `of` things is written: ascending indices of `bits` bits each, or a
/// bitmask of the things where that is smaller. Fixed by the pattern, the same in short groups.
struct ChoiceCode {
  int bits = 0;          ///< bits of one index
  bool bitmask = false;  ///< one bit for each thing instead
  /// Bits that a choice of `kept` of `of` takes.
  std::int64_t size(int kept, int of) const { return bitmask ? of : std::int64_t{bits} * kept; }
};

/// The code for `kept` of `of`: ceil(log2(of)) bits an index, or a bitmask where that is smaller.
ChoiceCode choice_code(int kept, int of);

/// Rows that share one outer choice.
struct RowVector {
  std::int64_t row = 0;   ///< first row
  std::int32_t rows = 0;  ///< vec_rows, or fewer at the end of a segment
};

/// Column blocks that compete with each other. Two choices are made in it, either of which may be
/// trivial: a vector keeps `kept_blocks` of `blocks` (stored in `columns`), then a row keeps `kept`
/// of the `kept_cols` columns left (stored in `metadata`). Plain 2:4 has only the second: all of
/// its columns stay alive. A group at the end of a segment can be short. Columns that do not fill a
/// block form a narrow block alone in a group of its own, which is always kept.
struct ColumnGroup {
  std::int64_t col = 0;   ///< first column (in permuted order if there is an input permutation)
  std::int32_t cols = 0;  ///< columns in all
  std::int32_t block_cols = 0;   ///< columns of a block
  std::int32_t blocks = 0;       ///< blocks in all
  std::int32_t kept_blocks = 0;  ///< min(kept, blocks); all blocks for 2:4
  std::int32_t kept_cols = 0;    ///< kept_blocks * block_cols: columns alive in the vector
  std::int32_t kept = 0;         ///< weights kept in a row; kept_cols if there is no choice by row
  std::int64_t value = 0;        ///< where its weights start in a row of `values`
  std::int64_t live_col = 0;  ///< where its columns start in a list of all live columns of a vector
  std::int64_t column_bit = 0;    ///< where its choice starts in a vector's `columns`, in bits
  std::int64_t metadata_bit = 0;  ///< where its choice starts in a row's `metadata`, in bits
};

/// Immutable; shared by a SparseMatrix and its views. Building it costs O(vectors + groups).
class Grid {
 public:
  /// Throws InvalidArgument if a size is negative or the segments do not sum up.
  Grid(const Pattern& pattern, WeightShape shape);

  const Pattern& pattern() const { return pattern_; }
  const WeightShape& shape() const { return shape_; }
  std::int64_t rows() const { return shape_.rows; }
  std::int64_t cols() const { return shape_.cols; }
  std::span<const RowVector> vectors() const { return vectors_; }
  std::span<const ColumnGroup> groups() const { return groups_; }
  /// The vector that a row belongs to.
  std::int64_t vector_of(std::int64_t row) const;
  /// The group that a column belongs to.
  std::int64_t group_of(std::int64_t col) const;

  /// Weights kept in a row (the same in every row).
  std::int64_t kept() const { return kept_; }
  /// Columns alive in a vector (the same in every vector); equals kept() where has_metadata() is
  /// false.
  std::int64_t live_cols() const { return live_cols_; }

  /// The row-by-row choice lies in `metadata`: V:N:M's inner level, and all of plain 2:4.
  bool has_metadata() const;
  /// The choice shared by a vector lies in `columns` (every pattern but dense and 2:4).
  bool has_columns() const;
  ChoiceCode column_code() const { return column_code_; }
  ChoiceCode metadata_code() const { return metadata_code_; }

  /// Bytes of the canonical arrays.
  std::int64_t column_bytes_per_vector() const { return column_bytes_; }
  std::int64_t metadata_bytes_per_row() const { return metadata_bytes_; }
  std::int64_t columns_bytes() const { return column_bytes_ * std::ssize(vectors_); }
  std::int64_t metadata_bytes() const { return metadata_bytes_ * shape_.rows; }
  std::int64_t values_bytes(Dtype dtype) const { return kept_ * shape_.rows * dtype_bytes(dtype); }

  /// Bytes of the canonical form without an input permutation: values + columns + metadata.
  std::int64_t own_bytes(Dtype dtype) const;
  /// 8 * own_bytes / (rows * cols); 0 for an empty weight.
  double bits_per_weight(Dtype dtype) const;
  /// Kept weights over all weights of this very shape; 1 for an empty weight.
  double density() const;

 private:
  Pattern pattern_;
  WeightShape shape_;
  ChoiceCode column_code_, metadata_code_;
  std::vector<RowVector> vectors_;
  std::vector<ColumnGroup> groups_;
  std::int64_t kept_ = 0, live_cols_ = 0, column_bytes_ = 0, metadata_bytes_ = 0;
};

}  // namespace coppice
