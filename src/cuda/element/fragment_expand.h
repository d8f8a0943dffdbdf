// N:M to dense fragments in registers, by byte selections: lane t's places of the k dimension are
// its own groups' columns, four of them for every m16n8k16, and the activations follow that order,
// 16 bytes of a token for eight columns.
#pragma once

#include <utility>

#include "cuda/element/element_arguments.h"
#include "cuda/element/fragment_config.h"
#include "cuda/ptx/bytes.h"
#include "cuda/ptx/mma.h"
#include "cuda/ptx/shift.h"

namespace coppice::cuda {

/// Puts the two values of `pair` at places `first` and `second` of kPlaces, zeros elsewhere.
template <int kPlaces, bool kAdds>
__device__ inline void place_pair(std::uint32_t pair, std::uint32_t first, std::uint32_t second,
                                  std::uint32_t (&out)[kPlaces / 2]) {
  // A selector byte for every place: bytes 1, 0 or 3, 2 of the pair, or 4, 4 of zero.
  constexpr std::uint32_t kNone = 0x44, kFirst = kNone ^ 0x10, kSecond = kNone ^ 0x32;
#pragma unroll
  for (int four = 0; four < kPlaces / 4; ++four) {
    const std::uint32_t selectors = kNone * 0x01010101u ^
                                    ptx::shift_left(kFirst, 8 * first - 32u * four) ^
                                    ptx::shift_left(kSecond, 8 * second - 32u * four);
    const std::uint32_t low = ptx::select_bytes(pair, 0, selectors);
    const std::uint32_t high = ptx::select_bytes(pair, 0, selectors >> 16);
    out[2 * four] = kAdds ? out[2 * four] | low : low;
    out[2 * four + 1] = kAdds ? out[2 * four + 1] | high : high;
  }
}

/// What a lane loads of a chunk of its two rows, and its products with all tokens.
template <FragmentForm kForm, Dtype kType, int kTiles>
struct ExpandedItem {
  static constexpr int kPieces = kChunkEntries / 8, kWords = kForm.words();
  uint4 values[2][kPieces];
  std::uint32_t choices[2][kWords];

  __device__ void load(const ElementWeight& w, int unit, int chunk, int lane) {
    const auto* words = reinterpret_cast<const std::uint32_t*>(w.choices);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int p = 0; p < kPieces; ++p) {
        const int piece = chunk * kPieces + p;
        values[h][p] = make_uint4(0, 0, 0, 0);
        if (piece < w.layout.pieces)
          values[h][p] = __ldcs(reinterpret_cast<const uint4*>(
              w.values + piece_byte(w.layout, 2 * unit + h, piece, lane)));
      }
      const int vector = row_vector(w, 16 * unit + 8 * h + lane / kElementLanes);
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        const int word = chunk * kWords + i;
        choices[h][i] =
            word < w.layout.words
                ? __ldg(words + choice_word(w.layout, vector, lane % kElementLanes, word))
            : kForm.form == ChoiceForm::mask ? 0x0F0F0F0Fu
                                             : 0u;
      }
    }
  }

  /// @param x this lane's token of the first tile. @param first column of the pass.
  __device__ void multiply(const std::byte* x, int stride, int first, int chunk, int t,
                           float (&sums)[kTiles][4]) const {
    const int column = chunk * kForm.chunk_columns() + t * kForm.group - first;
    multiply_groups(x + column * 2, stride, sums,
                    std::make_integer_sequence<int, kForm.lane_groups()>());
  }

 private:
  /// Values 2i and 2i + 1 of a row.
  template <int kHalf, int kPair>
  __device__ std::uint32_t pair() const {
    const uint4& piece = values[kHalf][kPair / 4];
    return kPair % 4 == 0 ? piece.x : kPair % 4 == 1 ? piece.y : kPair % 4 == 2 ? piece.z : piece.w;
  }

  template <int kHalf, int kEntry>
  __device__ std::uint32_t index() const {
    constexpr int kBits = kForm.index_bits, kFirst = kEntry * kBits;
    constexpr int kWord = kFirst / 32, kShift = kFirst % 32;
    std::uint32_t bits = choices[kHalf][kWord] >> kShift;
    if constexpr (kShift + kBits > 32)
      bits = __funnelshift_r(choices[kHalf][kWord], choices[kHalf][kWord + 1], kShift);
    return bits & ((1u << kBits) - 1);
  }

  /// The dense places of lane group kGroup of a row.
  template <int kHalf, int kGroup>
  __device__ void expand(std::uint32_t (&out)[kForm.group / 2]) const {
    constexpr int kEntry = kGroup * kForm.kept;
    if constexpr (kForm.form == ChoiceForm::indices) {
      static_assert(kForm.kept == 2);
      place_pair<kForm.group, false>(pair<kHalf, kEntry / 2>(), index<kHalf, kEntry>(),
                                     index<kHalf, kEntry + 1>(), out);
    } else {
      static_assert(kForm.kept == 4 && kForm.group == 8);
      std::uint32_t bits = choices[kHalf][kGroup / 4] >> 8 * (kGroup % 4) & 0xFF, place[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        place[i] = 31 - __clz(static_cast<int>(bits));
        bits ^= 1u << place[i];
      }
      place_pair<8, false>(pair<kHalf, kEntry / 2>(), place[0], place[1], out);
      place_pair<8, true>(pair<kHalf, kEntry / 2 + 1>(), place[2], place[3], out);
    }
  }

  template <int kGroup>
  __device__ void multiply_group(const std::byte* x, int stride, float (&sums)[kTiles][4]) const {
    std::uint32_t low[kForm.group / 2], high[kForm.group / 2];
    expand<0, kGroup>(low);
    expand<1, kGroup>(high);
#pragma unroll
    for (int eight = 0; eight < kForm.group / 8; ++eight) {
      const std::uint32_t a[2][4] = {
          {low[4 * eight], high[4 * eight], low[4 * eight + 1], high[4 * eight + 1]},
          {low[4 * eight + 2], high[4 * eight + 2], low[4 * eight + 3], high[4 * eight + 3]}};
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint4 b = *reinterpret_cast<const uint4*>(
            x + 8 * tile * stride + (kGroup * kElementLanes * kForm.group + 8 * eight) * 2);
        ptx::dense_mma<kType>(sums[tile], a[0], {b.x, b.y});
        ptx::dense_mma<kType>(sums[tile], a[1], {b.z, b.w});
      }
    }
  }

  template <int... kGroup>
  __device__ void multiply_groups(const std::byte* x, int stride, float (&sums)[kTiles][4],
                                  std::integer_sequence<int, kGroup...>) const {
    (multiply_group<kGroup>(x, stride, sums), ...);
  }
};

}  // namespace coppice::cuda
