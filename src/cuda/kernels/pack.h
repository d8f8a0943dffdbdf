// From the canonical arrays in device memory to the packed order (packed_layout.h).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "coppice/grid.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {

/// Pointers are device memory.
struct PackArguments {
  const void* values = nullptr;                // [rows, kept], 16 bits each
  const std::uint8_t* columns = nullptr;       // [vectors, column_bytes]
  const std::uint8_t* metadata = nullptr;      // [rows, metadata_bytes]
  const std::uint32_t* permutation = nullptr;  // [cols] or null
  std::int64_t kept = 0, metadata_bytes = 0, column_bytes = 0;
  ChoiceCode column_code;
  bool has_columns = false;  // else all columns are alive
  bool wide = false;         // every row of values starts on 16 bytes, of metadata on 2

  const QuadPlace* quads = nullptr;  // [quads], or null: quad q lies in columns qM to qM + M - 1
  std::int32_t quad_count = 0, group = 0, cols = 0;

  const RowUnit* units = nullptr;  // [blocks * kBlockUnits]
  std::byte* records = nullptr;    // [blocks][steps][kRecordBytes]
  std::byte* lists = nullptr;      // see ColumnLists
  std::int64_t blocks = 0, steps = 0, list_count = 0;
  std::int32_t quad_bytes = kColumnQuadBytes;
};

/// Enqueues both kernels. Writes every byte of records and lists; throws DeviceError.
void launch_pack(const PackArguments& arguments, cudaStream_t stream);

}  // namespace coppice::cuda
