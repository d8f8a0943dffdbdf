// From the packed order of a weight to a form that kernels for many tokens multiply by, in memory
// of the caller: dense rows, or the records of 2:4 (packed_layout.h).
#pragma once

#include <cuda_runtime.h>

#include "cuda/element/element_arguments.h"

namespace coppice::cuda {

/// Records of 2:4 of whole blocks of 64 rows, and their row tiles.
struct RecordsOutput {
  std::byte* records = nullptr;  // [blocks][steps], on 16 bytes
  std::int32_t blocks = 0, steps = 0;
  RowTile* tiles = nullptr;
  std::int32_t tile_rows = 0, tile_count = 0;
};

/// An element-wise, vector-wise or block-wise weight (element/element_layout.h).
struct UnpackArguments {
  ElementWeight weight;
  // Dense: [rows][stride] elements on 16 bytes, a stride of whole 16 bytes; what lies behind the
  // columns is 0.
  std::byte* out = nullptr;
  std::int64_t stride = 0;
  RecordsOutput two_four;  // else
};

/// V:2:M, whose groups are regular (ProductInfo).
struct SpreadArguments {
  const std::byte* records = nullptr;  // [units / kBlockUnits][steps]
  ColumnLists columns;
  const RowUnit* units = nullptr;
  std::int32_t unit_count = 0, steps = 0;
  std::int32_t rows = 0, cols = 0;
  RecordsOutput out;
};

/// Enqueues the expansion to dense rows of 16 or 32 bits.
void launch_unpack_dense(const UnpackArguments& arguments, cudaStream_t stream);

/// Enqueues the expansion of a 16-bit weight, no aligned four columns of which keep more than two
/// in a row, to records, and the table of row tiles. The kernel behind it begins early (launch.h):
/// it has to wait before it reads either (ProductArguments::expanded_before).
void launch_unpack_two_four(const UnpackArguments& arguments, cudaStream_t stream);

/// The same of V:2:M: of its columns, or in the slots of kernels/spread_layout.h.
void launch_spread(const SpreadArguments& arguments, cudaStream_t stream);

}  // namespace coppice::cuda
