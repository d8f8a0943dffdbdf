// What the backward products in bf16 multiply, beside the weight, copied into the order in which
// their kernels read it. Not part of the public API.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "coppice/gradient.h"
#include "core/rounding.h"
#include "cpu/bf16_kernels.h"
#include "cpu/scratch.h"

namespace coppice::cpu {

using Bf16Input = BasicActivations<const std::uint16_t>;
using Bf16Output = BasicActivations<std::uint16_t>;

/// Tokens in panels of equal width, but for the last one: whole vectors, so that panels are padded
/// little.
class TokenPanels {
 public:
  TokenPanels(std::int64_t tokens, std::int64_t most, std::int64_t unit);
  std::int64_t count() const { return count_; }
  std::int64_t token(std::int64_t panel) const { return panel * width_; }
  /// Of a panel, without and with padding.
  std::int64_t tokens(std::int64_t panel) const;
  std::int64_t padded(std::int64_t panel) const;
  std::int64_t width() const { return width_; }

 private:
  std::int64_t tokens_, unit_, count_, width_;
};

/// Of rows of a weight stored in bf16: those of a sliver.
KeptRows kept_rows(const KeptBits& kept, std::int64_t sliver, std::span<const std::uint16_t> values,
                   std::int64_t row, std::int64_t rows);

/// Columns of a sliver, 64 but for the last.
int sliver_cols(const KeptBits& kept, std::int64_t sliver);

/// A matrix of bf16 numbers in memory; either step is 1.
struct Bf16Matrix {
  const std::uint16_t* data = nullptr;
  std::int64_t rows = 0, k = 0, row_step = 0, k_step = 0;
};

Bf16Matrix tokens_by_features(const Bf16Input& a);
Bf16Matrix features_by_tokens(const Bf16Input& a);

inline constexpr std::int64_t kLeftRows = 48;  ///< a whole number of tiles and of cache lines

/// The left side of a product in tiles: factors that are broadcast. In blocks of k, pairs of k
/// adjacent: as rows, [rows][k], where memory has it so, and otherwise as
/// [blocks of 48 rows][pairs][48].
class LeftSide {
 public:
  /// @param block  of k, even
  LeftSide(const Bf16Matrix& from, std::int64_t block, Scratch& scratch, int threads);

  std::int64_t k_blocks() const;
  std::int64_t k(std::int64_t block) const { return block * block_; }  ///< where a block starts
  std::int64_t k_count(std::int64_t block) const;
  std::int64_t pairs(std::int64_t block) const { return (k_count(block) + 1) / 2; }
  /// Calls body(tile, row) for tiles of rows [row, row + rows) by a sliver, in a block of k.
  template <typename Body>
  void for_each_tile(std::int64_t block, std::int64_t row, std::int64_t rows,
                     const std::uint16_t* sliver, const Body& body) const {
    Bf16Tile tile;
    tile.row_step = as_rows_ ? pitch_ : 2;
    tile.pair_step = pair_step();
    tile.sliver = sliver;
    tile.pairs = pairs(block);
    for (const std::int64_t end = row + rows; row < end;) {
      // No tile reaches over a block of 48 rows; those of a block are as equal as can be.
      const std::int64_t stop = std::min(end, round_up(row + 1, kLeftRows));
      for (std::int64_t tiles = ceil_div(stop - row, kTileRows); tiles > 0; --tiles) {
        tile.rows = static_cast<int>(ceil_div(stop - row, tiles));
        tile.left = at(row, block);
        body(tile, row);
        row += tile.rows;
      }
    }
  }

 private:
  const std::uint16_t* at(std::int64_t row, std::int64_t block) const;
  std::int64_t pair_step() const { return as_rows_ ? 2 : 2 * kLeftRows; }
  void copy_rows(const Bf16Matrix& from, std::int64_t block, std::int64_t row,
                 std::int64_t end) const;
  void copy_pairs(const Bf16Matrix& from, std::int64_t block, std::int64_t row,
                  std::int64_t end) const;

  std::int64_t rows_, k_, block_, pitch_;
  bool as_rows_;
  std::uint16_t* data_;
};

}  // namespace coppice::cpu
