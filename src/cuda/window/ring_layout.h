// Where everything lies in shared memory in the ring kernels (ring_kernel.h), and for which weights
// there are any: index arithmetic and sizes only, so that tests can follow a product without a GPU.
//
// A stage belongs to a piece of 32 values of a row: the window of the columns that it may name, in
// panels of 64 tokens with 128 bytes for every column; the values of the tile's rows; and for every
// list 32 codes of 16 bits, each the byte of a panel at which its column's row begins.
//
// Lane 4g + t reads the columns 8t to 8t + 7 of a list, four lists' columns of different t together
// with 16 bytes of two g: 32 neighbouring bytes of four rows. The copy engine exchanges these 32
// bytes by bits 1 and 2 of a row's number (128-byte swizzle). So bits `shift` and `shift` + 1 of a
// column become these bits: where columns 8 places apart in a list are about 2^shift apart, the
// four rows are in different banks. (vw32/8:32: always, since 8 places are a group of 32.)
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "cuda/element/element_layout.h"
#include "cuda/window/window_layout.h"

namespace coppice::cuda {

inline constexpr int kRingWarps = 8;       // that multiply, each 32 rows
inline constexpr int kRingWarpRows = 32;   // and all tokens of the tile
inline constexpr int kRingPanel = 64;      // tokens
inline constexpr int kRingSlots = 32;      // of a piece
inline constexpr int kRingStages = 4;      // at most
inline constexpr int kRingHead = 256;      // bytes for barriers
inline constexpr int kRingListBytes = 64;  // of a list in a stage
inline constexpr int kRingMostShift = 6;
inline constexpr int kRingMostPieceColumns = 512;  // codes have 16 bits

/// A tile of 256 rows x 64 or 128 tokens.
struct RingShape {
  int panels = 2;

  constexpr int rows() const { return kRingWarps * kRingWarpRows; }
  constexpr int tokens() const { return panels * kRingPanel; }
  constexpr int threads() const { return 32 * kRingWarps + 128; }
  constexpr int weight_bytes() const { return rows() * kRingSlots * 2; }
};

/// A selection's shape counts on behind those of kWindowShapes.
inline constexpr std::array kRingShapes = {RingShape{2}, RingShape{1}};
constexpr bool is_ring(int shape) { return shape >= static_cast<int>(kWindowShapes.size()); }
constexpr const RingShape& ring_shape(int shape) {
  return kRingShapes[static_cast<std::size_t>(shape) - kWindowShapes.size()];
}
constexpr int window_tile_rows(int shape) {
  return is_ring(shape) ? ring_shape(shape).rows()
                        : kWindowShapes[static_cast<std::size_t>(shape)].rows();
}
constexpr int window_tile_tokens(int shape) {
  return is_ring(shape) ? ring_shape(shape).tokens()
                        : kWindowShapes[static_cast<std::size_t>(shape)].tokens;
}

/// What the window of a piece has.
struct RingWindow {
  std::int32_t columns = 0;  ///< a multiple of what `shift` permutes; 0: no such products
  std::int32_t shift = 1;    ///< see above

  /// Columns that the order of rows mixes: windows begin on multiples of them.
  constexpr int mixed() const { return 4 << shift; }
};

/// First column of a piece's groups.
COPPICE_HOST_DEVICE constexpr std::int32_t ring_first(const ElementLayout& l, std::int32_t piece) {
  return piece * kRingSlots / l.group_entries() * l.group_cols();
}
/// Behind the last.
constexpr std::int32_t ring_last(const ElementLayout& l, std::int32_t piece) {
  const int slot = std::min((piece + 1) * kRingSlots, l.slots) - 1;
  return (slot / l.group_entries() + 1) * l.group_cols();
}

/// The best shift: how far columns are apart 8 places apart in a list.
constexpr int ring_shift(const ElementLayout& l) {
  constexpr int kApart = 8;
  const int distance =
      l.block_cols >= 2 * kApart ? kApart : kApart * l.group_cols() / l.group_entries();
  return std::clamp(static_cast<int>(std::bit_width(static_cast<unsigned>(distance))) - 1, 1,
                    kRingMostShift);
}

/// Of a list whose groups follow each other, without a permutation of columns.
constexpr RingWindow ring_window(const ElementLayout& l) {
  RingWindow w;
  w.shift = ring_shift(l);
  const bool whole = kRingSlots % l.group_entries() == 0;
  const int begins = whole ? kRingSlots / l.group_entries() * l.group_cols() : l.group_cols();
  while (w.shift > 1 && (begins % w.mixed() != 0 || l.cols % w.mixed() != 0)) --w.shift;
  if (l.cols % w.mixed() != 0) return {};  // the copy engine would read behind the end
  for (int piece = 0; piece < l.pieces; ++piece) {
    const int first = ring_first(l, piece) / w.mixed() * w.mixed();
    const int columns = (ring_last(l, piece) - first + w.mixed() - 1) / w.mixed() * w.mixed();
    w.columns = std::max(w.columns, columns);
  }
  return w.columns <= kRingMostPieceColumns ? w : RingWindow{};
}

/// The row of a panel in which a column lies, from the first of its window on.
COPPICE_HOST_DEVICE constexpr std::uint32_t ring_row(std::uint32_t column, int shift) {
  const std::uint32_t middle = column >> shift & 3u, low = column >> 1 & ((1u << (shift - 1)) - 1u);
  return (column & 1u) | middle << 1 | low << 3 | column >> (shift + 2) << (shift + 2);
}
/// Byte at which it begins: 16 bytes number c by ^ 16 * c.
COPPICE_HOST_DEVICE constexpr std::uint32_t ring_code(std::uint32_t row) {
  return row << 7 | (row & 7u) << 4;
}
/// The codes of two columns, in the halves of a word.
COPPICE_HOST_DEVICE constexpr std::uint32_t ring_codes(std::uint32_t two, int shift) {
  constexpr std::uint32_t kBoth = 0x10001u;
  const std::uint32_t middle = two >> shift & 3u * kBoth;
  const std::uint32_t low = two >> 1 & ((1u << (shift - 1)) - 1u) * kBoth;
  const std::uint32_t high = two >> (shift + 2) & (0xFFFFu >> (shift + 2)) * kBoth;
  const std::uint32_t rows = (two & kBoth) | middle << 1 | low << 3 | high << (shift + 2);
  return rows << 7 | (rows & 7u * kBoth) << 4;
}

/// Lists that a warp's rows have.
constexpr int ring_lists(int vec_rows) { return vec_rows % kRingWarpRows == 0 ? 1 : 2; }

struct RingStage {
  int stages = 0;  ///< 0: they do not fit
  int bytes = 0;   ///< of one

  constexpr int shared_bytes() const { return 1024 + kRingHead + stages * bytes; }
};
constexpr RingStage ring_stage(const RingShape& shape, int columns, int lists, int shared_bytes) {
  RingStage s;
  const int list_bytes = (kRingWarps * lists * kRingListBytes + 1023) / 1024 * 1024;
  s.bytes = columns * 2 * shape.tokens() + shape.weight_bytes() + list_bytes;
  s.stages = std::min((shared_bytes - 1024 - kRingHead) / s.bytes, kRingStages);
  return s.stages >= 2 ? s : RingStage{};
}

}  // namespace coppice::cuda
