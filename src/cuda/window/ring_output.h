// From the sums of a ring kernel to y, straight from registers. Lane 4g + t of a warp has tokens 8g
// to 8g + 7 of every panel and rows 8j + 2t and 8j + 2t + 1: sums[panel][i][j][2h + e] is token
// 8g + 2i + h of row 8j + 2t + e. Eight outputs at a time: of a row where y is feature-major, of a
// token after an exchange between the four lanes of a g where it is token-major.
#pragma once

#include "cuda/kernels/epilogue.h"

namespace coppice::cuda {

template <Dtype kType, int kPanels>
class RingOutput {
 public:
  using Sums = float[kPanels][4][4][4];

  /// @param first_row of the warp. @param first_token of the tile.
  __device__ RingOutput(const EpilogueArguments& e, int rows, int tokens, int first_row,
                        int first_token, int lane)
      : e_(e),
        rows_(rows - first_row),
        tokens_(tokens - first_token - lane / 4 * 8),
        row_(first_row),
        token_(first_token + lane / 4 * 8),
        t_(lane % 4) {}

  __device__ void store(const Sums& sums) const {
    if (rows_ <= 0) return;
    e_.token_major ? store_layout<true>(sums) : store_layout<false>(sums);
  }

 private:
  static constexpr int kTurns = 8 * kPanels, kCount = 64 * kPanels;

  template <bool kTokenMajor>
  __device__ void store_layout(const Sums& sums) const {
    float all[kCount];
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn)
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int token = kTokenMajor ? turn % 8 : i, row = kTokenMajor ? i : turn % 8;
        all[8 * turn + i] = sums[turn / 8][token / 2][row / 2][token % 2 * 2 + row % 2];
      }
    const bool plain = e_.wide && e_.residual == nullptr && e_.bias == nullptr &&
                       e_.activation == Activation::none && rows_ >= kRingWarpRows;
    if (plain) {
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) {
        float eight[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) eight[i] = e_.alpha * all[8 * turn + i];
        put<kTokenMajor>(eight, turn);
      }
      return;
    }
    // Rolled, and the sums move down: unrolled, fetching the code would take longer.
#pragma unroll 1
    for (int turn = 0; turn < kTurns; ++turn) {
      float eight[8];
#pragma unroll
      for (int i = 0; i < 8; ++i)
        eight[i] = fmaf(e_.alpha, all[i], bias(row<kTokenMajor>(turn, i)));
      activate(e_.activation, eight);
      put<kTokenMajor>(eight, turn);
#pragma unroll
      for (int i = 0; i + 8 < kCount; ++i) all[i] = all[i + 8];
    }
  }

  /// Of number i of a turn, from the warp's first row or the lane's first token on.
  template <bool kTokenMajor>
  __device__ int row(int turn, int i) const {
    const int number = kTokenMajor ? i : turn % 8;
    return number / 2 * 8 + 2 * t_ + number % 2;
  }
  template <bool kTokenMajor>
  __device__ static int token(int turn, int i) {
    return turn / 8 * kRingPanel + (kTokenMajor ? turn % 8 : i);
  }
  __device__ float bias(int row) const {
    if (e_.bias == nullptr || row >= rows_) return 0;
    return e_.f32_bias ? static_cast<const float*>(e_.bias)[row_ + row]
                       : load_element<kType>(e_.bias, row_ + row);
  }
  __device__ std::int64_t index(int row, int token) const {
    return output_index(e_, token_ + token, row_ + row);
  }

  template <bool kTokenMajor>
  __device__ void put(float (&v)[8], int turn) const {
    // The same for all lanes where they exchange.
    const bool whole = kTokenMajor ? rows_ >= kRingWarpRows
                                   : row<false>(turn, 0) < rows_ && token<false>(turn, 7) < tokens_;
    if (e_.residual != nullptr) {
      if (e_.wide_residual && whole)
        combine_eight<kTokenMajor>(v, turn);
      else
        combine_singly<kTokenMajor>(v, turn);
    }
    if (!e_.wide || !whole) {
      store_singly<kTokenMajor>(v, turn);
      return;
    }
    std::uint32_t pairs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) pairs[i] = pack_pair<kType>(v[2 * i], v[2 * i + 1]);
    if (kTokenMajor) transpose_in_quad(pairs, t_);
    if (!kTokenMajor || token<true>(turn, 0) < tokens_)
      store_wide_half(e_.y, eight_index<kTokenMajor>(turn),
                      make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]));
  }
  /// Of the eight that this lane stores.
  template <bool kTokenMajor>
  __device__ std::int64_t eight_index(int turn) const {
    return kTokenMajor ? index(8 * t_, token<true>(turn, 0))
                       : index(row<false>(turn, 0), token<false>(turn, 0));
  }
  template <bool kTokenMajor>
  __device__ void combine_eight(float (&v)[8], int turn) const {
    uint4 raw = make_uint4(0, 0, 0, 0);
    if (!kTokenMajor || token<true>(turn, 0) < tokens_)
      raw = *reinterpret_cast<const uint4*>(static_cast<const std::uint16_t*>(e_.residual) +
                                            eight_index<kTokenMajor>(turn));
    std::uint32_t pairs[4] = {raw.x, raw.y, raw.z, raw.w};
    if (kTokenMajor) transpose_in_quad(pairs, t_);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 other = unpack_pair<kType>(pairs[i]);
      v[2 * i] = combine(e_, v[2 * i], other.x);
      v[2 * i + 1] = combine(e_, v[2 * i + 1], other.y);
    }
  }
  template <bool kTokenMajor>
  __device__ bool exists(int turn, int i) const {
    return row<kTokenMajor>(turn, i) < rows_ && token<kTokenMajor>(turn, i) < tokens_;
  }
  template <bool kTokenMajor>
  __device__ void combine_singly(float (&v)[8], int turn) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (!exists<kTokenMajor>(turn, i)) continue;
      const std::int64_t at = index(row<kTokenMajor>(turn, i), token<kTokenMajor>(turn, i));
      v[i] = combine(e_, v[i],
                     e_.f32_out ? static_cast<const float*>(e_.residual)[at]
                                : load_element<kType>(e_.residual, at));
    }
  }
  template <bool kTokenMajor>
  __device__ void store_singly(const float (&v)[8], int turn) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (!exists<kTokenMajor>(turn, i)) continue;
      const std::int64_t at = index(row<kTokenMajor>(turn, i), token<kTokenMajor>(turn, i));
      if (e_.f32_out)
        static_cast<float*>(e_.y)[at] = v[i];
      else
        store_element<kType>(e_.y, at, v[i]);
    }
  }

  const EpilogueArguments& e_;
  int rows_, tokens_;  // that exist, from the warp's first row and the lane's first token on
  int row_, token_, t_;
};

}  // namespace coppice::cuda
