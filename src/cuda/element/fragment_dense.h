// Groups to their dense places in registers, by the byte selections of fragment_table.h.
#pragma once

#include "cuda/element/fragment_table.h"
#include "cuda/ptx/bytes.h"
#include "cuda/ptx/halves.h"

namespace coppice::cuda {

/// The choice of group kGroup of a lane's choices, times 128: an offset in the table.
template <FragmentForm kForm, int kGroup, int kWords>
__device__ inline std::uint32_t group_choice(const std::uint32_t (&choices)[kWords]) {
  constexpr int kBits = kForm.choice_bits(), kWord = kGroup * kBits / 32;
  constexpr int kShift = kGroup * kBits % 32, kMask = ((1 << kBits) - 1) << 7;
  if constexpr (kShift + kBits > 32)
    return __funnelshift_r(choices[kWord], choices[kWord + 1], kShift - 7) & kMask;
  else if constexpr (kShift >= 7)
    return choices[kWord] >> (kShift - 7) & kMask;
  else
    return choices[kWord] << (7 - kShift) & kMask;
}

/// Selector of places 2 * i and 2 * i + 1. No selector is a NaN: its bytes are 0 to 7, of 4 bits.
template <int kCount>
__device__ inline std::uint32_t selector(const std::uint32_t (&pairs)[kCount], int i) {
  return i % 2 == 0 ? pairs[i / 2] : ptx::upper_half(pairs[i / 2]);
}

/// Two places in each register. @param at offset of the group's choice. @param first, second its
/// values, two in each; second: of four.
template <FragmentForm kForm>
__device__ inline void dense_places(const std::byte* table, std::uint32_t at, std::uint32_t first,
                                    std::uint32_t second, std::uint32_t (&out)[kForm.group / 2]) {
  std::uint32_t selectors[kForm.group / 4];
  if constexpr (kForm.group == 8) {
    const uint2 raw = *reinterpret_cast<const uint2*>(table + at);
    selectors[0] = raw.x, selectors[1] = raw.y;
  } else {
    static_assert(kForm.group == 16);
    const uint4 raw = *reinterpret_cast<const uint4*>(table + at);
    selectors[0] = raw.x, selectors[1] = raw.y, selectors[2] = raw.z, selectors[3] = raw.w;
  }
  if constexpr (kForm.form == ChoiceForm::indices) {
    static_assert(kForm.kept == 2);
#pragma unroll
    for (int i = 0; i < kForm.group / 2; ++i)
      out[i] = ptx::select_bytes(first, 0, selector(selectors, i));
  } else {
    static_assert(kForm.kept == 4 && kForm.group == 8);
    // Bit i of the mask to the sign of byte i, and from there to both bytes of place i.
    const std::uint32_t signs[2] = {(at >> 7 & 15) * 0x10204080u, (at >> 11) * 0x10204080u};
    constexpr std::uint32_t kSigns[4] = {0x9988, 0xBBAA, 0xDDCC, 0xFFEE};
#pragma unroll
    for (int i = 0; i < 4; ++i)
      out[i] = ptx::select_bytes(first, second, selector(selectors, i)) &
               ptx::select_bytes(signs[0], signs[1], kSigns[i]);
  }
}

/// Word kWord of a row's pieces.
template <int kWord, int kPieces>
__device__ inline std::uint32_t piece_word(const uint4 (&pieces)[kPieces]) {
  const uint4& piece = pieces[kWord / 4 % kPieces];
  return kWord % 4 == 0 ? piece.x : kWord % 4 == 1 ? piece.y : kWord % 4 == 2 ? piece.z : piece.w;
}

}  // namespace coppice::cuda
