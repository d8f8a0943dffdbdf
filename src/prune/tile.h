// Pieces of a weight that are masked independently of each other. Not part of the public API.
#pragma once

#include <cstdint>
#include <span>

#include "coppice/grid.h"
#include "coppice/mask.h"
#include "coppice/prune.h"
#include "coppice/sparse_matrix.h"

namespace coppice::prune {

/// Some rows (a vector, or any rows of an element-wise pattern) and some whole groups, which are
/// consecutive and not empty.
struct Tile {
  std::int64_t row = 0;
  int rows = 0;
  std::span<const ColumnGroup> groups;

  std::int64_t col() const { return groups.front().col; }
  int cols() const { return static_cast<int>(groups.back().col + groups.back().cols - col()); }
};

/// What a tile contributes to MaskResult.
struct TileResult {
  double total_score = 0, kept_score = 0;
  std::int64_t unproven_blocks = 0;
  bool has_nan = false;  ///< nothing else is valid then
};

/// Element-wise: top N per row and group.
TileResult select_elements(const DenseView& scores, const Tile& tile, Mask& mask);

/// Vector- and block-wise: top N of the block sums. Dense patterns, too.
TileResult select_blocks(const DenseView& scores, const Tile& tile, Mask& mask);

/// V:N:M: columns for the vector, then top N of them per row.
TileResult select_vnm(const DenseView& scores, const Tile& tile, ColumnSearch search, Mask& mask);

/// Sets bits of one row of a mask, from word `first_word` on. Tiles may share the first and the
/// last word with their neighbours, which may be at work at the same time.
void set_bits(Mask& mask, std::int64_t row, std::int64_t first_word,
              std::span<const std::uint64_t> bits);

}  // namespace coppice::prune
