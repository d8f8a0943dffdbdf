// How a V:2:M weight becomes 2:4: index arithmetic only, for the host and the device.
//
// A row keeps 2 of the M columns of a window, any 2. Where M is a multiple of 4, no aligned four
// columns can keep more: the weight is 2:4 as it is, of the columns in order.
//
// M = 5 to 7: a product of wgmma takes 32 rows of activations as 4 atoms of 8 rows side by side in
// shared memory, which need not lie behind each other. Here they overlap: they begin atom_cols()
// columns apart. A slot is a place in them, 4 slots a quad; a column may have two, so that each
// quad gets 2 kept columns at most.
//   M = 6, 7: an atom begins where a window does. Slots behind it are not used.
//   M = 5: atoms 6 columns apart hold five windows, 25 columns. Windows of the quads, and which of
//     their columns:
//       atom 0: 0 {0 to 3}, 0 and 1 {4 | 0}   atom 1: 1 {1 to 4}, 2 {0 to 3}
//       atom 2: 2 and 3 {4 | 0}, 3 {1 to 4}   atom 3: 4 {0, 1}, 4 {2 to 4}
// So a step of 64 slots, two products, is 50, 48 or 56 columns, which come as they are.
#pragma once

#include "cuda/packed_layout.h"
#if defined(__CUDACC__)
#include "cuda/ptx/bytes.h"
#endif

namespace coppice::cuda::spread {

inline constexpr int kProductSlots = 32;
inline constexpr int kAtomSlots = 8;
inline constexpr int kAtoms = kProductSlots / kAtomSlots;

COPPICE_HOST_DEVICE constexpr bool in_order(int group) { return group % 4 == 0; }
/// Whether there is a way.
COPPICE_HOST_DEVICE constexpr bool can_spread(int group) {
  return group > 4 && (in_order(group) || group < 8);
}

/// For M = 5 to 8 (of which 8 is in order): columns from atom to atom, windows and columns of a
/// product and of a step, and the rows of activations that a step reads.
COPPICE_HOST_DEVICE constexpr int atom_cols(int group) { return group == 5 ? 6 : group; }
COPPICE_HOST_DEVICE constexpr int product_windows(int group) { return group == 5 ? 5 : kAtoms; }
COPPICE_HOST_DEVICE constexpr int product_cols(int group) { return product_windows(group) * group; }
COPPICE_HOST_DEVICE constexpr int step_windows(int group) { return 2 * product_windows(group); }
COPPICE_HOST_DEVICE constexpr int step_cols(int group) { return 2 * product_cols(group); }
COPPICE_HOST_DEVICE constexpr int step_rows(int group) {
  return product_cols(group) + (kAtoms - 1) * atom_cols(group) + kAtomSlots;
}

/// Steps of 64 slots.
COPPICE_HOST_DEVICE constexpr std::int64_t steps(int group, std::int64_t cols) {
  const int width = in_order(group) ? kStepCols : step_cols(group);
  return (cols + width - 1) / width;
}

/// Column of a slot of a step, from the step's first on.
COPPICE_HOST_DEVICE constexpr int slot_column(int group, int slot) {
  const int in_product = slot % kProductSlots;
  return slot / kProductSlots * product_cols(group) + in_product / kAtomSlots * atom_cols(group) +
         in_product % kAtomSlots;
}

/// What a row keeps of a window: two values, the halves of a word, and their places, ascending.
struct Kept {
  std::uint32_t word, first, second;

  COPPICE_HOST_DEVICE constexpr Kept behind(std::uint32_t places) const {
    return {word, first + places, second + places};
  }
};

/// Byte `i` % 4 of a word.
COPPICE_HOST_DEVICE inline std::uint32_t byte_of(std::uint32_t word, std::uint32_t i) {
#if defined(__CUDA_ARCH__)
  return ptx::select_bytes(word, 0, (i & 3) | 0x4440);
#else
  return word >> 8 * (i & 3) & 255;
#endif
}

/// `pair`: which two of the columns alive, the lowest 4 bits; `offsets`: these columns in their
/// window, a byte each.
COPPICE_HOST_DEVICE inline Kept kept_of(std::uint32_t word, std::uint32_t pair,
                                        std::uint32_t offsets) {
  return {word, byte_of(offsets, pair), byte_of(offsets, pair >> 2)};
}
/// Of a window that is not there.
inline constexpr std::uint32_t kNoOffsets = 0x03020100, kNoPair = pair_bits(0, 1);

/// A quad of a record of 2:4: two values, and which columns they are of.
struct Quad {
  std::uint32_t values, metadata;
};

/// How a window's values go into a quad: bits 0 to 15 are the bytes of its word that are taken, 4
/// bits each, of which 4 is zero; bits 16 to 19 the metadata. No branches below: lanes have other
/// columns each.
inline constexpr std::uint32_t kNothing = 0x4444 | pair_bits(0, 3) << 16;

/// One value, beside which a zero is at the last place, or before it.
COPPICE_HOST_DEVICE constexpr std::uint32_t entry_alone(bool second, std::uint32_t place) {
  return place == 3 ? (second ? 0x3244 : 0x1044) | pair_bits(0, 3) << 16
                    : ((second ? 0x4432 : 0x4410) | pair_bits(0, 3) << 16) + (place << 16);
}
COPPICE_HOST_DEVICE constexpr std::uint32_t entry_together(const Kept& kept) {
  return 0x3210 + (kept.first % 4 << 16) + (kept.second % 4 << 18);
}

/// The same of a word.
COPPICE_HOST_DEVICE inline Quad make_quad(std::uint32_t word, std::uint32_t entry) {
#if defined(__CUDA_ARCH__)
  return {ptx::select_bytes(word, 0, entry), entry >> 16};
#else
  std::uint32_t values = 0;
  for (int i = 0; i < 4; ++i)
    if ((entry >> 4 * i & 7) < 4) values |= (word >> 8 * (entry >> 4 * i & 7) & 255) << 8 * i;
  return {values, entry >> 16};
#endif
}

/// Quad `quad` of a window: places 4 * quad to 4 * quad + 3.
COPPICE_HOST_DEVICE inline Quad quad_of(const Kept& kept, std::uint32_t quad) {
  const bool has_first = kept.first / 4 == quad, has_second = kept.second / 4 == quad;
  const std::uint32_t both = entry_together(kept);
  const std::uint32_t one = entry_alone(false, kept.first % 4);
  const std::uint32_t two = entry_alone(true, kept.second % 4);
  const std::uint32_t first = kept.first / 4 == kept.second / 4 ? both : one;
  const std::uint32_t second = has_second ? two : kNothing;
  return make_quad(kept.word, has_first ? first : second);
}

// M = 5, by columns of a window: 0 to 3, 1 to 4 at places 0 to 3, and the last column of a window
// and the first of the next one at two places that follow each other.
COPPICE_HOST_DEVICE inline Quad quad_without_last(const Kept& kept) {
  return make_quad(kept.word,
                   kept.second < 4 ? entry_together(kept) : entry_alone(false, kept.first));
}
COPPICE_HOST_DEVICE inline Quad quad_without_first(const Kept& kept) {
  const Kept behind = kept.behind(3);
  return make_quad(kept.word,
                   kept.first > 0 ? entry_together(behind) : entry_alone(true, kept.second - 1));
}
COPPICE_HOST_DEVICE inline Quad shared_quad(const Kept& a, const Kept& b, int place) {
  const Quad last = make_quad(a.word, a.second == 4 ? 0x4432 : 0x4444);
  const Quad first = make_quad(b.word, b.first == 0 ? 0x1044 : 0x4444);
  return {last.values | first.values, pair_bits(place, place + 1)};
}

/// The quads of a product of M = 5.
struct FiveQuads {
  Quad quads[kProductSlots / 4];
};
COPPICE_HOST_DEVICE inline FiveQuads five_quads(const Kept (&window)[5]) {
  const Kept last = window[4].behind(2);  // its columns 0 and 1, then 2 to 4
  return {{quad_without_last(window[0]), shared_quad(window[0], window[1], 0),
           quad_without_first(window[1]), quad_without_last(window[2]),
           shared_quad(window[2], window[3], 2), quad_without_first(window[3]), quad_of(last, 0),
           quad_of(last, 1)}};
}

}  // namespace coppice::cuda::spread
