// How the kernels of short vectors divide a weight (BlockedShape::windowed). All rows of a tile
// share windows: the activations of some groups of columns, whole, two of them in shared memory. A
// window is multiplied in steps. A warp has 16 rows, and brings their values and columns of a step
// to shared memory itself: a stream of values for every group of a step (forms in groups) or one
// stream (lists), in chunks of four as they are packed, turned into slots whose four rows lie
// together. Quarter q of a warp multiplies rows 4q to 4q + 3. Index arithmetic only, for the host
// and the device.
#pragma once

#include "cuda/blocked/blocked_shape.h"

namespace coppice::cuda {

inline constexpr int kWarpRows = 16;  ///< of kernels of short vectors
inline constexpr int kChunkShift = 2;
inline constexpr int kChunkValues = 1 << kChunkShift;  ///< of a row, 16 bytes
inline constexpr int kChunkBytes = 256;                ///< of a chunk of all rows of a warp
inline constexpr int kSlotBytes = 64;                  ///< of a slot of all rows of a warp

struct BlockedWindow {
  std::int32_t groups = 0;        ///< of a window; 0: there is none
  std::int32_t columns = 0;       ///< in all of them
  std::int32_t parts = 1;         ///< steps of a window
  std::int32_t part_columns = 0;  ///< that come with a step, at most
  std::int32_t stream_shift = 0;  ///< a step has 1, 2 or 4 streams
  std::int32_t slots = 0;         ///< of a stream and step, at most
  std::int32_t chunks = 0;        ///< of a stream and step, at most
  std::int32_t windows = 0;

  COPPICE_HOST_DEVICE constexpr int streams() const { return 1 << stream_shift; }
  constexpr int steps() const { return windows * parts; }
  constexpr int column_bytes(const BlockedShape& s) const { return s.tokens() * 4; }
  constexpr int buffer_bytes(const BlockedShape& s) const { return columns * column_bytes(s); }
  /// Slots are multiplied four at a time.
  constexpr int padded_slots() const { return (streams() * slots + 3) / 4 * 4; }
  constexpr int raw_bytes() const { return streams() * chunks * kChunkBytes; }
  constexpr int value_bytes() const { return padded_slots() * kSlotBytes; }
  constexpr int offset_bytes(const BlockedShape& s) const {
    return (padded_slots() + 4) * kSlotBytes / 4 * s.row_lists;
  }
  /// Of a warp: chunks, slots, where the activations of a slot lie.
  constexpr int warp_bytes(const BlockedShape& s) const {
    return raw_bytes() + value_bytes() + offset_bytes(s);
  }
  /// Of a thread block; sums of a tile pass through it at the end.
  constexpr int shared_bytes(const BlockedShape& s) const {
    const int all = 2 * buffer_bytes(s) + s.warps() * warp_bytes(s);
    return all > s.sum_bytes() ? all : s.sum_bytes();
  }
};

/// What a step works on.
struct BlockedStep {
  std::int32_t window = 0, part = 0;
  std::int32_t level = 0;   ///< forms in groups: how many groups of its streams come before
  std::int32_t column = 0;  ///< first of the window
  std::int32_t stream = 0;  ///< forms in groups: lane of the first group's stream
  std::int32_t start = 0;   ///< first value of its streams
  std::int32_t slots = 0;   ///< of a stream

  /// First chunk of a stream, and how many.
  COPPICE_HOST_DEVICE constexpr int chunk() const { return start >> kChunkShift; }
  COPPICE_HOST_DEVICE constexpr int chunks() const {
    return slots == 0 ? 0 : ((start + slots + kChunkValues - 1) >> kChunkShift) - chunk();
  }
};

COPPICE_HOST_DEVICE constexpr BlockedStep blocked_step(const ElementLayout& l,
                                                       const BlockedWindow& w, int window,
                                                       int part) {
  BlockedStep s;
  s.window = window;
  s.part = part;
  s.column = s.window * w.columns;
  if (window >= w.windows) return s;
  if (l.in_groups()) {
    const int group = s.window * w.groups + s.part * w.streams();
    s.stream = group & (kElementLanes - 1);
    s.level = group >> 2;  // of kElementLanes
    s.start = s.level * w.slots;
    s.slots = w.slots;
  } else {
    const int first = s.window * w.groups * l.group_entries();
    const int end = first + w.groups * l.group_entries();
    s.start = first + s.part * w.slots;
    const int last = end < l.slots ? end : l.slots;
    const int left = last - s.start;
    s.slots = left < 0 ? 0 : left < w.slots ? left : w.slots;
  }
  return s;
}

/// The step behind it.
COPPICE_HOST_DEVICE constexpr BlockedStep next_step(const ElementLayout& l, const BlockedWindow& w,
                                                    const BlockedStep& s) {
  const bool last = s.part + 1 == w.parts;
  return blocked_step(l, w, s.window + (last ? 1 : 0), last ? 0 : s.part + 1);
}

/// Byte of chunk number `n` of a step (of stream n % streams) in a half unit, for its first row.
COPPICE_HOST_DEVICE constexpr int chunk_byte(const ElementLayout& l, const BlockedWindow& w,
                                             const BlockedStep& s, int n) {
  constexpr int kLaneShift = 2;  // chunks of a list lie in all lanes, one after the other
  const int shift = l.in_groups() ? w.stream_shift : kLaneShift;
  const int number = (s.chunk() << w.stream_shift) + n;
  const int lane = s.stream + (number & ((1 << shift) - 1));
  return (number >> shift) * 32 * kPieceBytes + lane * kPieceBytes;
}

/// Where a slot's activations are noted, in bytes: `list` is a quarter, or a row of the warp.
COPPICE_HOST_DEVICE constexpr int offset_byte(int row_lists, int slot, int list) {
  return row_lists == 1 ? (slot & ~3) * (kSlotBytes / 4) + list * 16 + (slot & 3) * 4
                        : slot * kSlotBytes + list * 4;
}

/// What a lane reads ahead of its lists, for a step: two words for each of the choices of groups,
/// or runs.
inline constexpr int kListWords = 4;
/// Choices of groups, or runs, that a warp reads for a step.
COPPICE_HOST_DEVICE constexpr int list_items(const ElementLayout& l) {
  return l.in_groups() ? 32 * kListWords / 2 : 32 * kListWords;
}

/// The division of a weight for a shape that takes `shared_bytes` of a thread block, at most; of no
/// groups if there is none, or if the weight's groups do not follow each other regularly.
BlockedWindow blocked_window(const BlockedShape& shape, const ElementLayout& layout,
                             int shared_bytes);

}  // namespace coppice::cuda
