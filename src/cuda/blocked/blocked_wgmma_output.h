// From the sums of a kernel of warpgroups to y, straight from registers. A lane has four tokens of
// rows 8j + 2t and 8j + 2t + 1: 16 bytes of a row where y is feature-major; where it is token-major
// two neighbours exchange halves, so that each has four rows of two tokens.
#pragma once

#include "cuda/blocked/blocked_output.h"

namespace coppice::cuda {

template <int kCount>
class WgmmaOutput {
 public:
  /// @param token of this lane, the first of four. @param t lane % 4.
  __device__ WgmmaOutput(const BlockedArguments& p, int first_row, int token, int t)
      : p_(p), first_row_(first_row), token_(token), t_(t) {}

  __device__ void store(const float (&sum)[2][kCount]) const {
    const EpilogueArguments& e = p_.epilogue;
    if (is_plain()) {
      store_plain(sum);
      return;
    }
#pragma unroll
    for (int j = 0; j < kCount / 4; ++j) {
      // Of both rows, the four tokens.
      float two[2][4] = {
          {sum[0][4 * j], sum[0][4 * j + 2], sum[1][4 * j], sum[1][4 * j + 2]},
          {sum[0][4 * j + 1], sum[0][4 * j + 3], sum[1][4 * j + 1], sum[1][4 * j + 3]}};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int r = row(j, i);
        const float bias = e.bias == nullptr || r >= p_.weight.layout.rows
                               ? 0
                               : static_cast<const float*>(e.bias)[r];
#pragma unroll
        for (float& v : two[i]) v = fmaf(e.alpha, v, bias);
        activate(e.activation, two[i]);
      }
      e.token_major ? store_by_token(two, j) : store_by_row(two, j);
    }
  }

 private:
  /// What most products are. The general way is so much straight-line code that a tile waits for
  /// instructions.
  __device__ bool is_plain() const {
    const EpilogueArguments& e = p_.epilogue;
    return p_.wide_out && !e.token_major && e.bias == nullptr && e.residual == nullptr &&
           e.activation == Activation::none && token_ + 4 <= p_.tokens &&
           first_row_ + 2 * kCount <= p_.weight.layout.rows;
  }
  __device__ void store_plain(const float (&sum)[2][kCount]) const {
    const EpilogueArguments& e = p_.epilogue;
    float* y = static_cast<float*>(e.y) + output_index(e, token_, row(0, 0));
#pragma unroll
    for (int j = 0; j < kCount / 4; ++j, y += 8 * e.y_stride)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        __stcs(reinterpret_cast<float4*>(y + i * e.y_stride),
               make_float4(e.alpha * sum[0][4 * j + i], e.alpha * sum[0][4 * j + 2 + i],
                           e.alpha * sum[1][4 * j + i], e.alpha * sum[1][4 * j + 2 + i]));
  }
  __device__ int row(int j, int which) const { return first_row_ + 8 * j + 2 * t_ + which; }

  /// Four neighbours in y, of which `left` exist.
  __device__ void store_four(std::int64_t token, std::int64_t row, int left, float (&v)[4]) const {
    const EpilogueArguments& e = p_.epilogue;
    const std::int64_t index = output_index(e, token, row);
    if (p_.wide_out && left >= 4) {
      store_finished(e, index, v);
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i >= left) continue;
      if (e.residual != nullptr)
        v[i] = combine(e, v[i], static_cast<const float*>(e.residual)[index + i]);
      static_cast<float*>(e.y)[index + i] = v[i];
    }
  }
  __device__ void store_by_row(const float (&two)[2][4], int j) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (row(j, i) >= p_.weight.layout.rows) continue;
      float v[4] = {two[i][0], two[i][1], two[i][2], two[i][3]};
      store_four(token_, row(j, i), p_.tokens - token_, v);
    }
  }
  __device__ void store_by_token(const float (&two)[2][4], int j) const {
    const bool odd = t_ % 2;
    const int first = first_row_ + 8 * j + t_ / 2 * 4, token = token_ + (odd ? 2 : 0);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const float first_taken = __shfl_xor_sync(~0u, odd ? two[0][k] : two[0][k + 2], 1);
      const float second_taken = __shfl_xor_sync(~0u, odd ? two[1][k] : two[1][k + 2], 1);
      float v[4] = {odd ? first_taken : two[0][k], odd ? second_taken : two[1][k],
                    odd ? two[0][k + 2] : first_taken, odd ? two[1][k + 2] : second_taken};
      if (token + k < p_.tokens) store_four(token + k, first, p_.weight.layout.rows - first, v);
    }
  }

  const BlockedArguments& p_;
  int first_row_, token_, t_;
};

}  // namespace coppice::cuda
