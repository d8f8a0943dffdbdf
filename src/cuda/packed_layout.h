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

#include <bit>
#include <cstddef>
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
inline constexpr int kColumnQuadBytes = 8;                        // of a quad of columns, at most
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

/// The lists of columns alive, one a vector, a quad of columns at a time: quad q of a list is
/// `quad_bytes` bytes. Where quad q lies in columns qM to qM + M - 1 it says which of these M:
/// 1 byte, a bit for each (M <= 8), or four ascending offsets of 2 * quad_bytes bits each (2, 3, 4
/// bytes: M <= 16, 64, 256). Otherwise four columns of 16 bits (8 bytes).
struct ColumnLists {
  const std::byte* data =
      nullptr;  ///< [vectors][steps * kStepQuads][quad_bytes]; null: all, in order
  std::int32_t quad_bytes = kColumnQuadBytes;
  std::int32_t group = 0;  ///< M
};

/// Bytes of a quad of a weight with groups of `group` columns. `regular`: see ProductInfo.
constexpr int column_quad_bytes(int group, bool regular) {
  if (!regular) return kColumnQuadBytes;
  return group <= 8 ? 1 : group <= 16 ? 2 : group <= 64 ? 3 : 4;
}

/// Bytes of the quads behind the last group in such a list; the reader limits them to the last
/// column.
inline constexpr std::uint64_t kPaddingQuad = 1;

/// Place of the lowest bit set.
COPPICE_HOST_DEVICE inline int lowest_bit(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __ffs(static_cast<int>(bits)) - 1;
#else
  return std::countr_zero(bits);
#endif
}

/// Column `place` (0 to 3) of quad `quad` whose bytes are `bits`, in lists of less than 8 bytes a
/// quad. Behind the weight's last group it is the last column, where values are 0.
COPPICE_HOST_DEVICE inline std::uint32_t quad_column(std::uint32_t bits, int place, int quad,
                                                     int quad_bytes, int group, int cols) {
  std::uint32_t offset;
  if (quad_bytes == 1) {
    for (int i = 0; i < place; ++i)
      if ((bits & (bits - 1)) != 0) bits &= bits - 1;  // a short group ends in its last column
    offset = static_cast<std::uint32_t>(lowest_bit(bits));
  } else {
    offset = bits >> (2 * quad_bytes * place) & ((1u << 2 * quad_bytes) - 1);
  }
  const std::uint32_t column = static_cast<std::uint32_t>(quad * group) + offset;
  const auto last = static_cast<std::uint32_t>(cols - 1);
  return column < last ? column : last;
}

/// Where the weights and columns of a quad lie in the canonical arrays: all that a ColumnGroup says
/// of 2:4 or V:2:M.
struct QuadPlace {
  std::int32_t col = 0;    ///< first column of the group
  std::int32_t cols = 0;   ///< of the group
  std::int32_t value = 0;  ///< first value in a row; the choice is at bit 2 * value of its metadata
  std::int32_t live = 0;   ///< first place in the list of columns alive
};

/// 16 padded rows: the weight's rows [row, row + rows); none if rows is 0.
struct RowUnit {
  std::int32_t row = 0;
  std::int32_t rows = 0;
  std::int32_t vector = 0;
  std::int32_t unused = 0;
};

/// Consecutive blocks that share their columns and are multiplied by one thread block: the weight's
/// rows [row, row + rows), 64 in a block.
struct RowTile {
  std::int32_t block = 0;
  std::int32_t row = 0;
  std::int32_t rows = 0;
  std::int32_t vector = 0;

  COPPICE_HOST_DEVICE constexpr std::int32_t blocks() const {
    return (rows + kBlockRows - 1) / kBlockRows;
  }
};

}  // namespace coppice::cuda
