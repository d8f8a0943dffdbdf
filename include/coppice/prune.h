// Masks from scores: which weights a pattern keeps.
#pragma once

#include <cstdint>
#include <vector>

#include "coppice/mask.h"
#include "coppice/pattern.h"
#include "coppice/sparse_matrix.h"

namespace coppice {

/// How V:N:M finds the columns that a vector keeps.
enum class ColumnSearch : std::uint8_t {
  automatic,  ///< exact up to M = 32 (for 4 columns always), greedy with swaps above
  exact,      ///< the set of largest score (VENOM, section 5); any M, within a fixed effort a block
  swaps,      ///< greedy, then swaps until none gains
  greedy,     ///< the columns with the largest sums (Beyond 2:4, section 4)
};

struct MaskOptions {
  std::vector<std::int64_t> row_segments = {}, col_segments = {};  ///< see WeightShape
  ColumnSearch columns = ColumnSearch::automatic;
  int threads = 1;
};

struct MaskResult {
  Mask mask;
  double total_score = 0, kept_score = 0;  ///< summed in double precision
  std::int64_t blocks = 0;                 ///< vector x group choices made (V:N:M only)
  std::int64_t unproven_blocks = 0;        ///< of those, how many are not proven to be the best
};

/// Keeps the weights of largest total score under the pattern. Scores: `[rows, cols]`, f32 or any
/// weight dtype, whose absolute values count; NaN is refused. Ties keep the lower column; the
/// result does not depend on `threads`. Element-wise: top N per row and group; vector- and
/// block-wise: top N of the block sums; V:N:M: see ColumnSearch.
MaskResult select_mask(const DenseView& scores, const Pattern& pattern, const MaskOptions& = {});

/// Magnitude pruning: `select_mask` of |weight|.
inline MaskResult magnitude_mask(const DenseView& weights, const Pattern& pattern,
                                 const MaskOptions& options = {}) {
  return select_mask(weights, pattern, options);
}

/// Sets the weights that the mask clears to +0, and leaves the others as they are, bit for bit.
void apply_mask(const MutableDenseView& weights, const Mask& mask, int threads = 1);

}  // namespace coppice
