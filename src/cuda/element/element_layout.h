// How an element-wise, vector-wise or block-wise N:M weight lies in device memory: the one order
// that its kernels read, on CUDA cores and on tensor cores. Index arithmetic only, for the host and
// the device.
//
// Rows come in units of 16. Lane 4g + t of a warp owns a share of rows g and g + 8 of its unit, as
// in the fragments of mma: its stream of values of a row is cut into pieces of 16 bytes, and piece
// p of all lanes lies together, so that a warp reads 512 bytes at a time. What a lane owns, and how
// choices are written, depends on the form:
//
//  - indices, mask: the groups of M blocks whose number is t modulo 4, and their choices at the
//    canonical number of bits (docs/format.md), one behind the other in words of 32 bits, stored
//    once for a vector of rows. Word w of 8 vectors x 4 lanes lies together: 128 bytes. In a mask
//    form a group's blocks come in descending order (the highest bit set is the cheapest to find).
//  - list: 16 bytes of every 64 bytes of a row's values, and for every vector the first columns of
//    its runs of columns, 16 bits each. For blocks of 256 bits and more, where that costs little
//    (6 % more than a mask at worst, with blocks of just 256 bits). Of 16-bit values the 16 bytes
//    of the lanes of a row are exchanged (piece_lane), which costs a reader nothing: so piece p of
//    a half unit, 8 rows x 64 bytes, is an atom of the 64-byte swizzle that wgmma reads from shared
//    memory, and the copy engine can bring it there as it is.
//
// Groups are padded to N kept blocks: values +0 at the next places, whose activations are 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/packed_layout.h"

namespace coppice::cuda {

enum class ChoiceForm : std::uint8_t { indices, mask, list };

struct ElementLayout {
  ChoiceForm form = ChoiceForm::indices;
  std::int32_t element_bytes = 2;
  std::int32_t rows = 0, cols = 0;
  std::int32_t vec_rows = 1;
  std::int32_t vectors = 0;
  std::int32_t kept = 1, group = 2;  ///< blocks
  std::int32_t block_cols = 1;
  std::int32_t run = 1;          ///< list: columns that follow each other, a power of 2 up to 32
  std::int32_t index_bits = 1;   ///< of a block in a group
  std::int32_t choice_bits = 1;  ///< of a group
  std::int32_t groups = 0;       ///< short ones included
  std::int32_t slots = 0;        ///< list: values of a row, runs padded
  std::int32_t entries = 0;      ///< values of a lane in a row
  std::int32_t pieces = 0;       ///< of 16 bytes of a lane in a row
  std::int32_t words = 0;        ///< indices, mask: of a lane and vector; list: runs of a vector

  COPPICE_HOST_DEVICE constexpr int units() const { return (rows + kUnitRows - 1) / kUnitRows; }
  COPPICE_HOST_DEVICE constexpr int per_piece() const { return 16 / element_bytes; }
  COPPICE_HOST_DEVICE constexpr int group_entries() const { return kept * block_cols; }
  COPPICE_HOST_DEVICE constexpr int group_cols() const { return group * block_cols; }
  COPPICE_HOST_DEVICE constexpr bool in_groups() const { return form != ChoiceForm::list; }
};

inline constexpr int kElementLanes = 4;  // that share a row
inline constexpr int kVectorBlock = 8;   // vectors whose words lie together
inline constexpr int kPieceBytes = 16;

/// Entry `entry` of lane t of a row.
struct LaneEntry {
  std::int32_t t = 0, entry = 0;
};

/// indices, mask: value `slot` of the group's `group_entries()`, in the packed order of blocks.
COPPICE_HOST_DEVICE constexpr LaneEntry group_entry(const ElementLayout& l, int group, int slot) {
  return {group % kElementLanes, group / kElementLanes * l.group_entries() + slot};
}

/// list: value `slot` of the row.
COPPICE_HOST_DEVICE constexpr LaneEntry list_entry(const ElementLayout& l, int slot) {
  const int per = l.per_piece();
  return {slot / per % kElementLanes, slot / per / kElementLanes * per + slot % per};
}

/// The other way: the slot of a row that an entry is.
COPPICE_HOST_DEVICE constexpr int list_slot(const ElementLayout& l, LaneEntry e) {
  const int per = l.per_piece();
  return (e.entry / per * kElementLanes + e.t) * per + e.entry % per;
}

/// Where among the 32 x 16 bytes of a piece those of a lane lie, and the other way.
COPPICE_HOST_DEVICE constexpr int piece_lane(const ElementLayout& l, int lane) {
  return !l.in_groups() && l.element_bytes == 2 ? lane ^ lane / 8 % 4 : lane;
}

/// Byte of piece `piece` of a lane (4g + t) in a half unit: rows 8 * half_unit + g.
COPPICE_HOST_DEVICE constexpr std::int64_t piece_byte(const ElementLayout& l, int half_unit,
                                                      int piece, int lane) {
  return ((std::int64_t{half_unit} * l.pieces + piece) * 32 + piece_lane(l, lane)) * kPieceBytes;
}

/// Byte of a value.
COPPICE_HOST_DEVICE constexpr std::int64_t value_byte(const ElementLayout& l, int row,
                                                      LaneEntry e) {
  const int lane = row % 8 * kElementLanes + e.t;
  return piece_byte(l, row / 8, e.entry / l.per_piece(), lane) +
         e.entry % l.per_piece() * l.element_bytes;
}

/// Number of a word of choices of (vector, lane t): words follow each other 32 apart.
COPPICE_HOST_DEVICE constexpr std::int64_t choice_word(const ElementLayout& l, int vector, int t,
                                                       int word) {
  return (std::int64_t{vector / kVectorBlock} * l.words + word) * 32 +
         vector % kVectorBlock * kElementLanes + t;
}

/// Number of a run in the lists.
COPPICE_HOST_DEVICE constexpr std::int64_t run_number(const ElementLayout& l, int vector, int run) {
  return std::int64_t{vector} * l.words + run;
}

/// Bytes of the two big arrays.
COPPICE_HOST_DEVICE constexpr std::int64_t value_bytes(const ElementLayout& l) {
  return std::int64_t{2} * l.units() * l.pieces * 32 * kPieceBytes;
}
COPPICE_HOST_DEVICE constexpr std::int64_t choice_bytes(const ElementLayout& l) {
  if (!l.in_groups()) return std::int64_t{2} * l.vectors * l.words;
  return std::int64_t{4} * ((l.vectors + kVectorBlock - 1) / kVectorBlock) * l.words * 32;
}

/// Where a group's columns and weights lie in the canonical arrays.
struct ElementGroup {
  std::int32_t col = 0;         ///< first column
  std::int32_t blocks = 0;      ///< in all
  std::int32_t kept = 0;        ///< blocks kept
  std::int32_t block_cols = 0;  ///< fewer in a narrow block
  std::int32_t value = 0;       ///< first value in a row
  std::int32_t bit = 0;         ///< of the choice, in the columns of a vector
  std::int32_t slot = 0;        ///< list: first slot
  std::int32_t unused = 0;
};

/// The same of a weight whose groups follow each other without short ones but the last.
COPPICE_HOST_DEVICE constexpr ElementGroup regular_group(const ElementLayout& l, int j) {
  const int col = j * l.group_cols();
  const int whole = (l.cols - col) / l.block_cols;
  const int blocks = whole < l.group ? whole : l.group;
  const int kept = blocks < l.kept ? blocks : l.kept;
  const int value = j * l.group_entries();
  return {col, blocks, kept, l.block_cols, value, j * l.choice_bits, value, 0};
}

/// What a product works on as a whole: so many entries of every lane of a unit's rows.
inline constexpr int kChunkEntries = 32;

/// Columns that a chunk needs: [first, last), in permuted order; of a form in groups, where group j
/// starts at j * group_cols().
struct ChunkColumns {
  std::int32_t first = 0, last = 0;
};

}  // namespace coppice::cuda
