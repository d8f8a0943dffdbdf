// How a V:2:M weight with M = 5 to 8 becomes 2:4 in registers: index arithmetic only, for the host
// and the device.
//
// A row keeps 2 of the M columns of a window, any 2. Spread over quads of columns none of which can
// get more than 2 of them, that is 2:4 of the activations in order: no gather, whatever V is.
//   M = 6 to 8: a window is two quads, columns 0 to 3 and M-4 to M-1.
//   M = 5: two windows are three quads, columns 0 to 3, 3 to 6 and 6 to 9. The middle one has the
//     last column of the first window at place 1 and the first of the second at place 2: at most
//     one of each.
// So a quad may hold columns of its neighbours; nothing selects them there.
//
// wgmma wants quad t and t + 4 of 32 slots of columns in lanes t of A's fragments. Activations are
// copied so that a lane's quads are those of the windows that a record gives it, 4t to 4t + 3: quad
// n of lane t lies in slots 16n + 4t to 16n + 4t + 3 of a step.
#pragma once

#include "cuda/packed_layout.h"

namespace coppice::cuda::expand {

inline constexpr int kLaneWindows = 4;  // of a record's step, one lane
inline constexpr int kLanes = kStepQuads / kLaneWindows;
inline constexpr int kLeastGroup = 5, kMostGroup = 8;

/// Ways to expand, by M: 5, 6 to 8, and 16 (expand_ordered_layout.h).
enum class Form : std::uint8_t { fives, eights, sixteens };

/// Stages of activations: a step of a record is cut into parts.
struct Parts {
  int count;     ///< of a step
  int products;  ///< of 32 slots of columns, in a part
  constexpr int slots() const { return 32 * products; }
  constexpr int lane_quads() const { return 2 * products; }
};
constexpr Parts parts(Form form) {
  return form == Form::fives ? Parts{1, 3} : form == Form::eights ? Parts{2, 2} : Parts{4, 2};
}

/// Columns between quads of a window (M = 5: of a pair of windows), and between what a lane holds
/// of them.
COPPICE_HOST_DEVICE constexpr int quad_stride(int group) { return group == 5 ? 3 : group - 4; }
COPPICE_HOST_DEVICE constexpr int span(int group) { return group == 5 ? 10 : group; }
COPPICE_HOST_DEVICE constexpr int span_quads(int group) { return group == 5 ? 3 : 2; }

/// First column of quad `n` of lane `t` in a step that starts at column 0.
COPPICE_HOST_DEVICE constexpr int quad_column_of(int group, int n, int t) {
  const int quads = span_quads(group);
  return kLaneWindows * group * t + span(group) * (n / quads) + quad_stride(group) * (n % quads);
}

/// A number for two places of a window, x < y < 8: 0 to 27.
COPPICE_HOST_DEVICE constexpr std::uint32_t pair_code(int x, int y) {
  return static_cast<std::uint32_t>(y * (y - 1) / 2 + x);
}

/// Tells the pairs of kept columns (4 bits of a record's metadata) apart: 1 to 6. A word of their
/// codes, rotated to the right by kCodeBits times this, has the pair's in bits 2 to 6.
COPPICE_HOST_DEVICE constexpr std::uint32_t pair_index(std::uint32_t pair) {
  return (pair ^ pair >> 1) & 7;
}
inline constexpr std::uint32_t kCodeBits = 5;
inline constexpr int kCodes = 1 << kCodeBits;
inline constexpr int kMasks = 1 << kMostGroup;

/// The codes of all pairs of the columns alive in a window: `mask` has a bit for each, four bits,
/// or fewer where the window is a weight's short last one; then the places behind follow.
COPPICE_HOST_DEVICE constexpr std::uint32_t pair_codes(std::uint32_t mask) {
  int place[4] = {};
  int alive = 0, last = -1;
  for (int bit = 0; bit < kMostGroup && alive < 4; ++bit)
    if ((mask >> bit & 1) != 0) place[alive++] = last = bit;
  for (; alive < 4; ++alive) place[alive] = ++last;
  std::uint32_t word = 0;
  for (int x = 0; x < 3; ++x)
    for (int y = x + 1; y < 4; ++y) {
      const std::uint32_t shift = kCodeBits * pair_index(pair_bits(x, y)) + 2;
      word |= (pair_code(place[x], place[y]) & (kCodes - 1)) << shift % 32;
    }
  return word;
}

/// How a row's two values of a window go into registers: an entry of a table by pair_code.
///   bits 0 to 15: what the halves of the two registers are, 4 bits each: kFirst, kSecond, kZero.
///     M = 6 to 8: of the window's quads. M = 5: of the window's own quad and of the middle one.
///   bits 16 to 31: metadata, 4 bits a quad. M = 6 to 8: of both quads, then nothing. M = 5, first
///     window of a pair: its own, middle, nothing, its own; second: its own, nothing, middle, own.
inline constexpr std::uint32_t kFirst = 0, kSecond = 1, kZero = 2;
/// Bytes of prmt selectors that take a half of a word, or zero of another.
inline constexpr std::uint32_t kHalfSelectors = 0x443210;

/// Two halves of a register and its metadata, for a quad whose kept places are known.
struct QuadEntry {
  std::uint32_t halves, metadata;
};
COPPICE_HOST_DEVICE constexpr QuadEntry quad_entry(int first_place, int second_place) {
  if (first_place >= 0 && second_place >= 0)
    return {kFirst | kSecond << 4, pair_bits(first_place, second_place)};
  if (first_place < 0 && second_place < 0) return {kZero | kZero << 4, pair_bits(0, 1)};
  const std::uint32_t value = first_place >= 0 ? kFirst : kSecond;
  const int place = first_place >= 0 ? first_place : second_place;
  // A zero beside it, at another place.
  if (place == 3) return {kZero | value << 4, pair_bits(0, 3)};
  return {value | kZero << 4, pair_bits(place, 3)};
}

/// `second`: of the second window of a pair, for M = 5.
COPPICE_HOST_DEVICE constexpr std::uint32_t entry(int group, bool second, std::uint32_t code) {
  int y = 1;
  while (y < kMostGroup - 1 && pair_code(0, y + 1) <= code) ++y;
  const int x = static_cast<int>(code - pair_code(0, y));
  if (group == 5) {
    const int before = second ? 1 : 0;  // places of the own quad start there
    const bool first_out = second && x == 0, second_out = !second && y == 4;
    const QuadEntry own =
        quad_entry(first_out ? -1 : x - before, second_out ? -1 : (y - before) & 3);
    const std::uint32_t middle = pair_bits(1, 2);
    if (second)
      return own.halves | (kZero | (first_out ? kFirst : kZero) << 4) << 8 |
             (own.metadata | middle << 8 | own.metadata << 12) << 16;
    return own.halves | ((second_out ? kSecond : kZero) | kZero << 4) << 8 |
           (own.metadata | middle << 4 | own.metadata << 12) << 16;
  }
  const int skip = group - 4;
  const QuadEntry low = quad_entry(x < 4 ? x : -1, y < 4 ? y : -1);
  const QuadEntry high = quad_entry(x < 4 ? -1 : (x - skip) & 3, y < 4 ? -1 : (y - skip) & 3);
  return low.halves | high.halves << 8 | (low.metadata | high.metadata << 4) << 16;
}

/// What windows' masks and rows' pairs are looked up in.
struct alignas(16) Tables {
  std::uint32_t codes[kMasks];        // of a mask's pairs
  std::uint32_t entries[2 * kCodes];  // M = 5: of the first windows of pairs, then of the second
};
constexpr Tables tables(int group) {
  Tables t = {};
  for (std::uint32_t mask = 0; mask < kMasks; ++mask) t.codes[mask] = pair_codes(mask);
  for (std::uint32_t i = 0; i < 2 * kCodes; ++i)
    t.entries[i] = entry(group, i >= kCodes, i % kCodes);
  return t;
}

/// Shared memory beside a block's records: for each of its units the codes of a step's windows.
inline constexpr int kBlockCodeBytes = kBlockUnits * kStepQuads * 4;

}  // namespace coppice::cuda::expand
