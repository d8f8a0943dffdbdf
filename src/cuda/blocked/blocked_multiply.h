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
  static constexpr bool kToAndFro = kQuads > 1;
  static_assert(kShape.warp_units == 4 && kShape.warp_tokens % 32 == 0);

  float sum[8][4 * kQuads];

  __device__ void clear() {
#pragma unroll
    for (auto& row : sum)
#pragma unroll
      for (float& one : row) one = 0;
  }

  /// What a slot is multiplied by.
  struct Operands {
    float4 rows[2], tokens[kQuads];
  };
  /// @param values, activations of this lane: see `values_offset` and `activations_offset`.
  __device__ static Operands load(const std::byte* values, const std::byte* activations, int slot) {
    Operands o;
    const auto load_rows = [&] {
#pragma unroll
      for (int i = 0; i < 2; ++i)
        o.rows[i] = *reinterpret_cast<const float4*>(values + slot * kShape.slot_bytes() + i * 16);
    };
    if constexpr (!kToAndFro) load_rows();
#pragma unroll
    for (int j = 0; j < kQuads; ++j)
      o.tokens[j] =
          *reinterpret_cast<const float4*>(activations + kShape.slot_offset(slot) + j * 128);
    if constexpr (kToAndFro) load_rows();
    return o;
  }
  /// To and fro over the tokens: each product has an operand in common with the one before, which
  /// needs not be read again, and its other two in different banks of the register file (`keep`).
  /// Slices, with four tokens a lane, were 2 to 5 % slower so.
  __device__ void add(const Operands& o) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int n = 0; n < 4 * kQuads; ++n) {
        const int j = kToAndFro && i % 2 != 0 ? 4 * kQuads - 1 - n : n;
        sum[i][j] =
            fmaf(component(o.rows[i / 4], i % 4), component(o.tokens[j / 4], j % 4), sum[i][j]);
      }
  }
  /// All slots of a step.
  __device__ void multiply(const std::byte* values, const std::byte* activations) {
    Operands o[2];
    o[0] = load(values, activations, 0);
#pragma unroll
    for (int slot = 0; slot < BlockedShape::kSlots; ++slot) {
      if (slot + 1 < BlockedShape::kSlots) o[(slot + 1) % 2] = load(values, activations, slot + 1);
      add(o[slot % 2]);
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

 private:
  __device__ static float component(const float4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
  }
};

}  // namespace coppice::cuda
