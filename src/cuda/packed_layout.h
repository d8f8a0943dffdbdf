// How a weight lies in device memory: the one order that every sparse tensor core kernel reads,
// whatever its tile. Index arithmetic only, for the host and the device.
//
// Rows are padded so that a vector starts on a unit of 16 rows (of 64 if vectors have 64 rows or
// more), and 4 units make a block. The columns alive in a vector are padded to steps of 64. The
// record of a (block, step) is 64 x 32 kept values, in core matrices of 8 rows x 8 values (128
// bytes, what wgmma and ldmatrix read without conflicts), then one word of metadata for each of 128
// lanes, in the lane order of mma.sp and wgmma.sp. Beside the records lies, for every vector, the
// list of columns alive.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define COPPICE_HOST_DEVICE __host__ __device__
#else
#define COPPICE_HOST_DEVICE
#endif

namespace coppice::cuda {

inline constexpr int kUnitRows = 16;
inline constexpr int kBlockUnits = 4;
inline constexpr int kBlockRows = kUnitRows * kBlockUnits;
inline constexpr int kStepCols = 64;              // columns alive
inline constexpr int kStepQuads = kStepCols / 4;  // choices of 2 of 4 in a row
inline constexpr int kStepKept = kStepCols / 2;   // values kept in a row
inline constexpr int kValueBytes = kBlockRows * kStepKept * 2;
inline constexpr int kMetadataBytes = kBlockRows * kStepQuads / 2;
inline constexpr int kRecordBytes = kValueBytes + kMetadataBytes;
inline constexpr int kCoreBytes = 128;                            // 8 rows x 8 values
inline constexpr int kCoreRowBytes = kCoreBytes * kStepKept / 8;  // 8 rows of a record

/// Byte of a value in its record. `place`: 0..31, which of the row's kept values in the step.
COPPICE_HOST_DEVICE constexpr int value_byte(int row, int place) {
  return row / 8 * kCoreRowBytes + place / 8 * kCoreBytes + row % 8 * 16 + place % 8 * 2;
}

/// Where the 4 bits of a (row, quad of columns) lie in the metadata of a record.
struct MetadataPlace {
  int word, shift;
};
COPPICE_HOST_DEVICE constexpr MetadataPlace metadata_place(int row, int quad) {
  const int warp = row / 16, group = row % 8, upper = row / 8 % 2;
  const int lane =
      4 * group + quad / 4;  // lanes 0, 1 of a quad: first 32 columns; 2, 3: the others
  return {32 * warp + lane, 16 * upper + 4 * (quad % 4)};
}

/// The 4 bits that say which two of four columns are kept, ascending.
COPPICE_HOST_DEVICE constexpr unsigned pair_bits(int first, int second) {
  return static_cast<unsigned>(first | second << 2);
}

/// 16 padded rows: the weight's rows [row, row + rows); none if rows is 0.
struct RowUnit {
  std::int32_t row = 0;
  std::int32_t rows = 0;
  std::int32_t vector = 0;
  std::int32_t unused = 0;
};

/// Consecutive blocks that share their columns and are multiplied by one thread block.
struct RowTile {
  std::int32_t block = 0;
  std::int32_t blocks = 0;
  std::int32_t vector = 0;
  std::int32_t unused = 0;
};

}  // namespace coppice::cuda
