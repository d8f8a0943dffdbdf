// The scores of a tile, transposed for the kernels, and the bits that they choose. Not part of the
// public API.
#pragma once

#include <hwy/aligned_allocator.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "prune/panel_kernels.h"
#include "prune/tile.h"

namespace coppice::prune {

using AlignedInts = hwy::AlignedFreeUniquePtr<std::int32_t[]>;

/// The keys of a tile (see panel_kernels.h), column by column, in host memory aligned for vectors.
class ScorePanel {
 public:
  ScorePanel(const DenseView& scores, const Tile& tile);

  bool has_nan() const { return largest_ > kInfinityKey; }
  /// Distance of two columns: the rows, rounded up to kPanelRows.
  int pitch() const { return pitch_; }
  /// Groups of kPanelRows rows.
  int panels() const { return pitch_ / kPanelRows; }
  /// The keys of a column of the weight, [pitch].
  const std::int32_t* column(std::int64_t col) const {
    return keys_.get() + (col - first_col_) * pitch_;
  }
  double total_score() const { return total_score_; }

 private:
  std::int64_t first_col_;
  int pitch_;
  std::int32_t largest_ = 0;
  double total_score_ = 0;
  AlignedInts keys_;
};

/// Bits chosen in a tile, collected column by column and written row by row.
class PanelBits {
 public:
  explicit PanelBits(const Tile& tile);

  /// Bits of kPanelRows rows of one column: bit r%8 of bits[r/8].
  void set(int panel, std::int64_t col, const std::uint8_t* bits) {
    const std::int64_t at = col - first_word_ * 64;
    planes_[static_cast<std::size_t>(2 * panel * width_ + at)] = bits[0];
    planes_[static_cast<std::size_t>((2 * panel + 1) * width_ + at)] = bits[1];
  }

  void write(Mask& mask) const;

 private:
  std::int64_t row_, rows_, first_word_, width_;
  std::vector<std::uint8_t> planes_;  // [rows / 8, width]: bit r%8 of a byte is row r
};

}  // namespace coppice::prune
