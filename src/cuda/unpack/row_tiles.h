// The row tiles of a weight whose rows lie one after the other, written on the way.
#pragma once

#include "cuda/unpack/unpack_arguments.h"

namespace coppice::cuda {

/// By all threads of a kernel.
__device__ inline void write_row_tiles(const RecordsOutput& out, int rows) {
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < out.tile_count;
       i += static_cast<int>(gridDim.x * blockDim.x)) {
    const int row = i * out.tile_rows;
    out.tiles[i] = {row / kBlockRows, row, min(out.tile_rows, rows - row), 0};
  }
}

}  // namespace coppice::cuda
