// From the packed order of an element-wise, vector-wise or block-wise weight
// (element/element_layout.h) back to a form that kernels for many tokens multiply by, in memory of
// the caller: dense rows, or the records of 2:4 (packed_layout.h).
#pragma once

#include <cuda_runtime.h>

#include "cuda/element/element_arguments.h"

namespace coppice::cuda {

struct UnpackArguments {
  ElementWeight weight;
  std::byte* out = nullptr;  // on 16 bytes
  // Dense: [rows][stride] elements, a stride of whole 16 bytes; what lies behind the columns is 0.
  std::int64_t stride = 0;
  // Records: [blocks][steps], of whole blocks of 64 rows, and their row tiles.
  std::int32_t blocks = 0, steps = 0;
  RowTile* tiles = nullptr;
  std::int32_t tile_rows = 0, tile_count = 0;
};

/// Enqueues the expansion to dense rows of 16 or 32 bits.
void launch_unpack_dense(const UnpackArguments& arguments, cudaStream_t stream);

/// Enqueues the expansion of a 16-bit weight, no aligned four columns of which keep more than two
/// in a row, to records, and the table of row tiles. A kernel that begins while this one ends
/// (launch.h) finds both written.
void launch_unpack_two_four(const UnpackArguments& arguments, cudaStream_t stream);

}  // namespace coppice::cuda
