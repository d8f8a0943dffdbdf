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
  int part_rows = 8;   ///< 8 or 16 rows that are not divided
  int tiles = 1;       ///< of such parts, one for a thread block of each rank
  int tile_parts = 1;  ///< of the first `larger_tiles`; the others have one part less
  int larger_tiles = 1;
  int row_warps = 1;    ///< of a thread block, each with its own rows ...
  int chunk_warps = 1;  ///< ... times those that divide the chunks of a pass, `warp_chunks` each
  int warp_chunks = 1;
  int warp_share = 256;  ///< 256 / chunk_warps, rounded up: see row_warp
  int ranks = 1;         ///< thread blocks of a cluster, which divide the chunks
  int rank_chunks = 0;
  int pass_chunks = 0;   ///< whose activations are in shared memory together
  int pass_columns = 0;  ///< so many at most
  int shared_bytes = 0;  ///< that a thread block can have

  // Without divisions, which a kernel would begin with.
  COPPICE_HOST_DEVICE constexpr int first_part(int tile) const {
    return tile * tile_parts - (tile > larger_tiles ? tile - larger_tiles : 0);
  }
  COPPICE_HOST_DEVICE constexpr int first_row(int tile) const {
    return first_part(tile) * part_rows;
  }
  /// Of a tile, at most.
  COPPICE_HOST_DEVICE constexpr int rows() const { return tile_parts * part_rows; }
  COPPICE_HOST_DEVICE constexpr int warps() const { return row_warps * chunk_warps; }
  /// warp / chunk_warps, of up to 16.
  COPPICE_HOST_DEVICE constexpr int row_warp(int warp) const { return warp * warp_share >> 8; }
  friend bool operator==(const ElementSplit&, const ElementSplit&) = default;
};

/// What dividing has to know of a device.
struct LookupDevice {
  int multiprocessors = 1;
  int shared_bytes = 0;   ///< that a thread block can have
  bool clusters = false;  ///< compute capability 9.0 and later
};

ElementSplit split_element(const ElementPlan& plan, const LookupDevice& device);

}  // namespace coppice::cuda
