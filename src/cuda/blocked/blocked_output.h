// From the sums of a tile in shared memory to y: rows x tokens, four neighbours in y at a time
// where y allows it.
#pragma once

#include "cuda/blocked/blocked_arguments.h"
#include "cuda/element/output.h"

namespace coppice::cuda {

/// Four neighbours in y, but for the residual.
__device__ inline void store_finished(const EpilogueArguments& e, std::int64_t index,
                                      float (&v)[4]) {
  if (e.residual != nullptr) {
    const float4 other =
        *reinterpret_cast<const float4*>(static_cast<const float*>(e.residual) + index);
    v[0] = combine(e, v[0], other.x), v[1] = combine(e, v[1], other.y);
    v[2] = combine(e, v[2], other.z), v[3] = combine(e, v[3], other.w);
  }
  __stcs(reinterpret_cast<float4*>(static_cast<float*>(e.y) + index),
         make_float4(v[0], v[1], v[2], v[3]));
}

/// Four neighbours in y: of one row, or of one token.
__device__ inline void store_four(const BlockedArguments& p, std::int64_t token, std::int64_t row,
                                  const float (&sums)[4]) {
  const EpilogueArguments& e = p.epilogue;
  const int token_step = e.token_major ? 0 : 1, row_step = 1 - token_step;
  float v[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float bias =
        e.bias == nullptr ? 0 : static_cast<const float*>(e.bias)[row + i * row_step];
    v[i] = fmaf(e.alpha, sums[i], bias);
  }
  activate(e.activation, v);
  store_finished(e, output_index(e, token, row), v);
}

template <BlockedShape kShape>
__device__ void store_tile(const BlockedArguments& p, const float* sums, int first_row,
                           int first_token) {
  constexpr int kStride = kShape.sum_stride(), kFours = kShape.rows() * kShape.tokens() / 4;
  const bool by_token = p.epilogue.token_major;
  for (int n = threadIdx.x; n < kFours; n += 32 * kShape.warps()) {
    // Along y: rows of a token, or tokens of a row.
    const int row = by_token ? n % (kShape.rows() / 4) * 4 : n / (kShape.tokens() / 4);
    const int token = by_token ? n / (kShape.rows() / 4) : n % (kShape.tokens() / 4) * 4;
    float v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      v[i] = by_token ? sums[(row + i) * kStride + blocked_sum_token(kShape, token)]
                      : sums[row * kStride + blocked_sum_token(kShape, token + i)];
    const int rows_left = p.weight.layout.rows - first_row - row;
    const int tokens_left = p.tokens - first_token - token;
    if (p.wide_out && (by_token ? rows_left : tokens_left) >= 4 &&
        (by_token ? tokens_left : rows_left) > 0) {
      store_four(p, first_token + token, first_row + row, v);
      continue;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int down = by_token ? i : 0, along = by_token ? 0 : i;
      if (down < rows_left && along < tokens_left)
        store_output<Dtype::f32>(p.epilogue, first_token + token + along, first_row + row + down,
                                 v[i]);
    }
  }
}

}  // namespace coppice::cuda
