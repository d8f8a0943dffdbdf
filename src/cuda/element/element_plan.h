// How an element-wise, vector-wise or block-wise weight is packed, and how its product is divided
// among thread blocks. Pure host code: needs no GPU and no CUDA header.
#pragma once

#include <cstdint>
#include <vector>

#include "coppice/grid.h"
#include "cuda/element/element_layout.h"

namespace coppice::cuda {

/// Byte offsets of the arrays in the weight's one allocation.
struct ElementPlaces {
  std::int64_t values = 0;   ///< see element_layout.h
  std::int64_t choices = 0;  ///< words or runs
  std::int64_t chunks = 0;   ///< ChunkColumns [chunks]
  std::int64_t groups = 0;   ///< ElementGroup [groups]; none if regular
  std::int64_t vectors = 0;  ///< i32 [rows], the vector of every row; none if they are regular
  std::int64_t sources = 0;  ///< i32 [places], see source_column; none if that is the place itself
  std::int64_t bytes = 0;    ///< of all
};

/// Depends on the grid, the dtype and on whether there is an input permutation.
struct ElementPlan {
  ElementLayout layout;
  std::vector<ElementGroup> groups;       ///< empty: regular
  std::vector<std::int32_t> row_vectors;  ///< empty: row / vec_rows
  std::vector<ChunkColumns> chunks;
  std::int32_t sources = 0;  ///< places with a table; 0: none
  /// By look-ups in shared memory, chunk by chunk; else group by group straight from memory.
  bool staged = false;

  ElementPlaces places() const;
  /// Whether all rows of every unit belong to one vector.
  bool shares_vectors() const { return row_vectors.empty() && layout.vec_rows % kUnitRows == 0; }
};

/// Whether this packing is for such a pattern: element-wise but 2:4, vector-wise, block-wise.
bool is_element_pattern(const Pattern& pattern);

/// Throws InvalidArgument if cols > 65536 or the weight has 2^31 values or more in a row.
ElementPlan plan_element(const Grid& grid, Dtype dtype, bool permuted);

/// How a product is divided. Does not depend on the tokens: neither does the order of its sums.
struct ElementSplit {
  int units = 1;        ///< of a thread block, at most
  int row_warps = 1;    ///< of a thread block, each with its own rows ...
  int chunk_warps = 1;  ///< ... times those that divide the chunks of a pass
  int ranks = 1;        ///< thread blocks of a cluster, which divide the chunks
  int rank_chunks = 0;
  int pass_chunks = 0;   ///< whose activations are in shared memory together
  int pass_columns = 0;  ///< so many at most

  int threads() const { return 32 * row_warps * chunk_warps; }
  int warp_chunks() const { return (pass_chunks + chunk_warps - 1) / chunk_warps; }
  friend bool operator==(const ElementSplit&, const ElementSplit&) = default;
};

/// @param resident thread blocks of 8 warps that a multiprocessor holds.
/// @param clusters the device has them (compute capability 9.0 and later).
ElementSplit split_element(const ElementPlan& plan, int multiprocessors, int resident,
                           bool clusters);

}  // namespace coppice::cuda
