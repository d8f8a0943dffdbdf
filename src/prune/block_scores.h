// The scores of one V:N:M block (a vector and a group) as the search for its columns sees them. Not
// part of the public API.
#pragma once

#include <cstdint>
#include <span>

#include "prune/panel.h"

namespace coppice::prune {

/// Size of a block, and what is kept of it.
struct BlockShape {
  int rows = 0, pitch = 0;      ///< pitch: rows rounded up to kPanelRows
  int cols = 0, kept_cols = 0;  ///< of the vector's choice
  int kept = 0;                 ///< of the row's choice: 1 <= kept <= kept_cols <= cols <= 256

  std::size_t list_size() const { return static_cast<std::size_t>(kept * pitch); }
};

/// The score of a set of columns is the sum over rows of the `kept` largest scores inside it.
///
/// Two forms of it live here. `score` is the truth, in double precision. The search itself runs on
/// integers (`round(score * 2^k)`, so that no sum overflows 31 bits), in which sums are exact and
/// differences mean something: the two differ by `slack()` at most, and not at all if every score
/// is a multiple of 2^-k, as those of small integer types are.
///
/// Lists are the `kept` largest integers of each row, descending: `[kept, pitch]`, aligned. A floor
/// is one number for each row, `[pitch]`, such as the last entry of a list.
class BlockScores {
 public:
  /// For blocks of up to this size; reused for many blocks.
  explicit BlockScores(const BlockShape& largest);

  /// @param keys [cols, pitch], kept by the caller while the block is in use
  void load(const std::int32_t* keys, const BlockShape& shape);

  const BlockShape& shape() const { return shape_; }

  /// @param columns any number of columns
  double score(std::span<const std::uint8_t> columns) const;
  /// Sum of one column.
  double column_score(int col) const;
  /// The score of all columns together: no set has more.
  double bound() const;

  /// The list that `col` makes of `list`; both may be the same.
  void push(const std::int32_t* list, int col, std::int32_t* out) const {
    kernels_.push(list, column(col), shape_.kept, shape_.pitch, out);
  }
  /// Makes `list` that of `columns`, and `list` of one more entry than usual if `extra` is 1.
  void make_list(std::span<const std::uint8_t> columns, std::int32_t* list, int extra = 0) const;
  /// The last entry of the list that `col` would make of `list`. @returns its sum
  std::int32_t push_floor(const std::int32_t* list, int col, std::int32_t* floor) const {
    return kernels_.push_floor(list, column(col), shape_.kept, shape_.pitch, floor);
  }
  /// out[i]: what column `candidates[i]` has above `floor`, plus the sum of `floor`, less `offset`.
  /// `out` has room for three more than there are. @returns the largest of them
  std::int32_t sum_above(const std::int32_t* floor, std::span<const std::uint8_t> candidates,
                         std::int32_t offset, std::int32_t* out) const {
    return kernels_.sum_above(integers_.get(), shape_.pitch, floor, candidates.data(),
                              static_cast<int>(candidates.size()), offset, out);
  }
  /// Sum of the first `entries` entries of a list.
  std::int32_t sum_of(const std::int32_t* list, int entries) const {
    return kernels_.sum(list, std::ptrdiff_t{entries} * shape_.pitch);
  }

  /// A score in units of the integers.
  double to_units(double score) const;
  double from_units(std::int64_t units) const;
  /// Score and integer score of a set differ by this many units at most; 0: they are equal.
  std::int64_t slack() const { return slack_; }

 private:
  const std::int32_t* column(int col) const {
    return integers_.get() + std::ptrdiff_t{col} * shape_.pitch;
  }

  const PanelKernels& kernels_;
  BlockShape shape_;
  const std::int32_t* keys_ = nullptr;
  int exponent_ = 0;  // integers are scores times two to this power
  std::int64_t slack_ = 0;
  AlignedInts integers_;  // [cols, pitch]
  AlignedInts list_;      // scratch, [kept, pitch]
};

}  // namespace coppice::prune
