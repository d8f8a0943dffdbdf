// How a V:2:16 weight becomes 2:4 in registers: index arithmetic only, for the host and the device.
//
// A row keeps 2 of the 16 columns of a window, any 2. No four columns can keep more, so that is 2:4
// of the columns in order: activations come as those of a 2:4 weight do, in either layout. A
// product of 32 columns takes two windows: lane t of A's fragments holds quad t of the first and
// quad t of the second one, each with 2, 1 or none of a window's values.
//
// What a quad takes of a window's word of two values follows from the window's columns alive and
// from which two of them a row keeps: of each window, 6 ways. A producer writes all 6 beside the
// record, as selectors of bytes, one a quad, and as metadata; what a lane needs is then one load of
// 2 bytes for a row's register.
#pragma once

#include "cuda/kernels/expand_layout.h"

namespace coppice::cuda::expand {

inline constexpr int kOrderedGroup = 16;
inline constexpr int kWindowQuads = kOrderedGroup / 4;
inline constexpr int kPartWindows =
    kStepCols / kOrderedGroup;  ///< a part: 64 columns, two products
inline constexpr int kOrderedParts = kStepQuads / kPartWindows;  ///< of a record's step
inline constexpr int kPairs = 8;  ///< as many as pair_index tells apart, and two that do not occur

/// What rows take of a window, by pair_index of what they keep: of each quad the selector of
/// prmt (the bytes of its two values: of the word, or 4 for zero), and 4 bits of metadata a quad.
struct WindowWays {
  std::uint16_t selectors[kPairs][kWindowQuads];
  std::uint16_t metadata[kPairs];
};
inline constexpr int kWindowWayBytes = sizeof(WindowWays);
inline constexpr int kUnitWayBytes = kStepQuads * kWindowWayBytes;
inline constexpr int kBlockWayBytes = kBlockUnits * kUnitWayBytes;
// Parts of addresses are joined by or.
static_assert(kWindowWayBytes % 16 == 0 && kPartWindows * kWindowWayBytes % 64 == 0);

/// The share of one of a row's two values in that, by its place in the window: shares of both are
/// joined by exclusive or. A value alone in its quad has a zero beside it: at place 3, or, if it is
/// there itself (the first) or not at 0 (the second), at place 0. So neither share depends on the
/// other.
struct alignas(16) Share {
  std::uint32_t selectors[2];  ///< of quads 0, 1 and 2, 3
  std::uint32_t metadata;
  std::uint32_t unused;
};
COPPICE_HOST_DEVICE constexpr Share share_of(bool second, int place) {
  const int quad = place / 4, in_quad = place % 4;
  const bool high = second ? in_quad > 0 : in_quad == 3;  // half of the quad's word
  const std::uint32_t taken = (second ? 0x32 : 0x10) ^ 0x44;
  Share share = {};
  share.selectors[quad / 2] = taken << (16 * (quad % 2) + (high ? 8 : 0));
  const int bits = second ? (high ? in_quad ^ 3 : 0) << 2 : high ? 0 : in_quad;
  share.metadata = static_cast<std::uint32_t>(bits) << 4 * quad;
  if (!second) return share;
  for (std::uint32_t& nothing : share.selectors) nothing ^= 0x44444444;
  share.metadata ^= 0x1111 * pair_bits(0, 3);
  return share;
}

/// Shares by place, of the first values and of the second ones.
struct OrderedTables {
  Share shares[2][kOrderedGroup];
};
constexpr OrderedTables ordered_tables() {
  OrderedTables tables = {};
  for (int second = 0; second < 2; ++second)
    for (int place = 0; place < kOrderedGroup; ++place)
      tables.shares[second][place] = share_of(second != 0, place);
  return tables;
}

/// Whether there is a kernel.
constexpr bool can_expand(int group) {
  return (group >= kLeastGroup && group <= kMostGroup) || group == kOrderedGroup;
}
constexpr Form form_of(int group) {
  return group == 5 ? Form::fives : group == kOrderedGroup ? Form::sixteens : Form::eights;
}

/// Shared memory for what a producer writes beside a block's record, and for its tables.
constexpr int block_code_bytes(Form form) {
  return form == Form::sixteens ? kBlockWayBytes : kBlockCodeBytes;
}
constexpr int table_bytes(Form form) {
  return static_cast<int>(form == Form::sixteens ? sizeof(OrderedTables) : sizeof(Tables));
}

}  // namespace coppice::cuda::expand
