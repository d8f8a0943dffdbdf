// A canonical weight in the order of packed_layout.h, on the host. Needs no GPU.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "coppice/sparse_matrix.h"
#include "cuda/packed_layout.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Where a weight's rows lie in blocks; depends on the grid alone.
struct PackPlan {
  std::vector<RowUnit> units;                                  // [blocks * kBlockUnits]
  std::array<std::vector<RowTile>, kTileBlocks.size()> tiles;  // one list for each of kTileBlocks
  std::int64_t blocks = 0;
  std::int64_t steps = 0;
  int vector_blocks = 0;  ///< see ProductInfo
  int block_vectors = 1;  ///< see ProductInfo
  bool regular = true;    ///< see ProductInfo
};

/// Throws InvalidArgument if the pattern does not fit sparse tensor cores or cols > 65536.
PackPlan plan_pack(const Grid& grid);

struct HostPack {
  PackPlan plan;
  std::vector<std::byte> records;      // [blocks][steps][kRecordBytes]
  std::vector<std::uint16_t> columns;  // [vectors][steps * kStepCols], original columns; empty
                                       // where all columns are alive in order
};

/// Packs a valid view of f16 or bf16; throws InvalidArgument for others. Padding has value +0 and
/// points at columns that are alive.
HostPack pack_on_host(const SparseView& weight, int threads);

}  // namespace coppice::cuda
