// Where a weight's rows lie in blocks, and its arrays in device memory. Pure host code: needs no
// GPU and no CUDA header.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "coppice/grid.h"
#include "cuda/packed_layout.h"
#include "cuda/select.h"

namespace coppice::cuda {

inline constexpr std::int64_t kPackedAlignment = 256;  ///< of every array, in bytes

/// Byte offsets of the arrays of a packed weight in its one allocation.
struct PackedPlaces {
  std::int64_t records = 0;                              ///< [blocks][steps][kRecordBytes]
  std::int64_t columns = 0;                              ///< see ColumnLists
  std::int64_t units = 0;                                ///< RowUnit [blocks * kBlockUnits]
  std::array<std::int64_t, kTileBlocks.size()> tiles{};  ///< RowTile, a list for each height
  std::int64_t quads = 0;                                ///< QuadPlace; none if regular
  std::int64_t bytes = 0;                                ///< of all
};

/// Depends on the grid and on whether there is an input permutation, not on the weights.
struct PackPlan {
  std::vector<RowUnit> units;                                  // [blocks * kBlockUnits]
  std::array<std::vector<RowTile>, kTileBlocks.size()> tiles;  // one list for each of kTileBlocks
  std::vector<QuadPlace> quads;  // of the canonical arrays, where groups are not regular
  std::int64_t blocks = 0;
  std::int64_t steps = 0;
  std::int64_t lists = 0;  ///< of columns; 0 where all columns are alive in order
  int quad_bytes = kColumnQuadBytes;
  int vector_blocks = 0;                                       ///< see ProductInfo
  int block_vectors = 1;                                       ///< see ProductInfo
  std::array<int, kTileBlocks.size()> tile_lists = {1, 1, 1};  ///< see ProductInfo
  bool regular = true;                                         ///< see ProductInfo
  bool in_order = false;                                       ///< see ProductInfo

  PackedPlaces places() const;
};

/// Throws InvalidArgument if the pattern does not fit sparse tensor cores or cols > 65536.
PackPlan plan_pack(const Grid& grid, bool permuted);

}  // namespace coppice::cuda
