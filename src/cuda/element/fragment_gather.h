// Vectors of 16 rows and more: their values are dense fragments as they lie, eight of a row for two
// m16n8k16, and the activations of the columns that the list names are gathered from shared memory.
#pragma once

#include "cuda/element/fragment_config.h"
#include "cuda/element/lookup_item.h"
#include "cuda/ptx/mma.h"

namespace coppice::cuda {

template <FragmentForm kForm, Dtype kType, int kTiles>
struct GatheredItem {
  static constexpr LookupConfig kLookup{list_form(kForm), kType, 1};
  LookupRows<kLookup> rows;

  __device__ void load(const ElementWeight& w, int unit, int chunk, int lane) {
    rows.load(w, unit, chunk, lane);
  }

  /// @param x this lane's token of the first tile. @param first column of the pass.
  __device__ void multiply(const std::byte* x, int stride, int first, int chunk, int t,
                           float (&sums)[kTiles][4]) const {
    (void)chunk, (void)t;
    multiply_pieces(x - first * 2, stride, sums,
                    std::make_integer_sequence<int, kLookup.pieces()>());
  }

 private:
  static __device__ std::uint32_t two(const std::byte* x, std::uint32_t low, std::uint32_t high) {
    const std::uint32_t a = *reinterpret_cast<const std::uint16_t*>(x + 2 * low);
    const std::uint32_t b = *reinterpret_cast<const std::uint16_t*>(x + 2 * high);
    return a | b << 16;
  }

  template <int kPiece>
  __device__ void multiply_piece(const std::byte* x, int stride, float (&sums)[kTiles][4]) const {
    const auto& list = rows.row[0];
    const std::uint32_t column[8] = {
        list.template column<8 * kPiece>(),     list.template column<8 * kPiece + 1>(),
        list.template column<8 * kPiece + 2>(), list.template column<8 * kPiece + 3>(),
        list.template column<8 * kPiece + 4>(), list.template column<8 * kPiece + 5>(),
        list.template column<8 * kPiece + 6>(), list.template column<8 * kPiece + 7>()};
    const uint4 low = rows.row[0].values[kPiece], high = rows.row[1].values[kPiece];
    const std::uint32_t a[2][4] = {{low.x, high.x, low.y, high.y}, {low.z, high.z, low.w, high.w}};
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const std::byte* token = x + 8 * tile * stride;
#pragma unroll
      for (int k = 0; k < 2; ++k)
        ptx::dense_mma<kType>(sums[tile], a[k],
                              {two(token, column[4 * k], column[4 * k + 1]),
                               two(token, column[4 * k + 2], column[4 * k + 3])});
    }
  }

  template <int... kPiece>
  __device__ void multiply_pieces(const std::byte* x, int stride, float (&sums)[kTiles][4],
                                  std::integer_sequence<int, kPiece...>) const {
    (multiply_piece<kPiece>(x, stride, sums), ...);
  }
};

}  // namespace coppice::cuda
