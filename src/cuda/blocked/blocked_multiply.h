// Products of a step on CUDA cores. A warp has four half units x warp_tokens: lane 8u + t the eight
// rows of half unit u, and of every 32 tokens the four from 4t on. Values of a slot lie together,
// as activations do; lanes that share them are answered together. The slot after the one that is
// multiplied is on its way to registers.
#pragma once

#include "cuda/blocked/blocked_shape.h"

namespace coppice::cuda {

template <BlockedShape kShape>
struct BlockedFma {
  static constexpr int kQuads = kShape.warp_tokens / 32;
  static_assert(kShape.warp_units == 4 && kShape.warp_tokens % 32 == 0);

  float sum[8][4 * kQuads];

  __device__ void clear() {
#pragma unroll
    for (auto& row : sum)
#pragma unroll
      for (float& one : row) one = 0;
  }

  /// @param values, activations of this lane: see `values_offset` and `activations_offset`.
  __device__ void multiply(const std::byte* values, const std::byte* activations) {
    float4 a[2][2], b[2][kQuads];
    const auto load = [&](int slot, float4(&rows)[2], float4(&tokens)[kQuads]) {
#pragma unroll
      for (int i = 0; i < 2; ++i)
        rows[i] = *reinterpret_cast<const float4*>(values + slot * kShape.slot_bytes() + i * 16);
#pragma unroll
      for (int j = 0; j < kQuads; ++j)
        tokens[j] =
            *reinterpret_cast<const float4*>(activations + kShape.slot_offset(slot) + j * 128);
    };
    load(0, a[0], b[0]);
#pragma unroll
    for (int slot = 0; slot < BlockedShape::kSlots; ++slot) {
      if (slot + 1 < BlockedShape::kSlots) load(slot + 1, a[(slot + 1) % 2], b[(slot + 1) % 2]);
      const float4(&rows)[2] = a[slot % 2];
      const float eight[8] = {rows[0].x, rows[0].y, rows[0].z, rows[0].w,
                              rows[1].x, rows[1].y, rows[1].z, rows[1].w};
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 4 * kQuads; ++j) {
          const float4& x = b[slot % 2][j / 4];
          const float token = j % 4 == 0 ? x.x : j % 4 == 1 ? x.y : j % 4 == 2 ? x.z : x.w;
          sum[i][j] = fmaf(eight[i], token, sum[i][j]);
        }
    }
  }

  __device__ static int unit(int lane) { return lane / 8; }
  /// Bytes from the warp's first row and token to what the lane reads first.
  __device__ static int values_offset(int lane) { return unit(lane) * 32; }
  __device__ static int activations_offset(int lane) { return lane % 8 * 16; }

  /// Stores the sums, or adds them to what is there: `tile` is the warp's part of the sums.
  /// Neighbouring tokens change places (blocked_sum_token): so their registers, which a 16-byte
  /// store wants in a row, are in the other bank than the activation they are multiplied with.
  template <bool kAdd>
  __device__ void keep(float* tile, int lane) const {
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < kQuads; ++j) {
        auto* at = reinterpret_cast<float4*>(tile + (8 * unit(lane) + i) * kShape.sum_stride() +
                                             32 * j + lane % 8 * 4);
        float4 v =
            make_float4(sum[i][4 * j + 1], sum[i][4 * j], sum[i][4 * j + 3], sum[i][4 * j + 2]);
        if constexpr (kAdd) {
          const float4 old = *at;
          v = make_float4(old.x + v.x, old.y + v.y, old.z + v.z, old.w + v.w);
        }
        *at = v;
      }
  }
};

}  // namespace coppice::cuda
