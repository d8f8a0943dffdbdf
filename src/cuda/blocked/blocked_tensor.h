// Products of a step on tensor cores. Slots may come in any order as long as values and activations
// agree: lane 4g + t has slots 4t to 4t + 3 of row g of each half unit, its own 16 bytes of a
// piece, and mma number j of the piece multiplies slots 4t + 2j and 4t + 2j + 1 of all t.
#pragma once

#include "cuda/blocked/blocked_shape.h"
#include "cuda/ptx/tf32.h"

namespace coppice::cuda {

template <BlockedShape kShape>
struct BlockedTensor {
  static constexpr bool kSplit = kShape.math == BlockedMath::split;
  static constexpr int kTiles = kShape.warp_units / 2, kColumns = kShape.warp_tokens / 8;

  float sum[kTiles][kColumns][4];

  __device__ void clear() {
#pragma unroll
    for (auto& tile : sum)
#pragma unroll
      for (auto& column : tile)
#pragma unroll
        for (float& one : column) one = 0;
  }

  /// A number that tensor cores can multiply by, and what it leaves.
  struct Operand {
    std::uint32_t big, rest;
    __device__ explicit Operand(float value) : big(ptx::round_tf32(value)), rest(0) {
      if constexpr (kSplit) rest = ptx::round_tf32(value - __uint_as_float(big));
    }
  };

  /// Sums of few products are taken to zero by tensor cores, bit by bit: those of a piece are added
  /// to the others by CUDA cores, which round.
  __device__ void multiply(const std::byte* values, const std::byte* activations) {
    std::uint32_t big[kTiles][2][4], rest[kTiles][2][4];
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float4 v =
            *reinterpret_cast<const float4*>(values + (2 * m + h) * kShape.unit_bytes());
        const float four[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const Operand operand(four[i]);
          big[m][i / 2][2 * (i % 2) + h] = operand.big;
          rest[m][i / 2][2 * (i % 2) + h] = operand.rest;
        }
      }
    float next[4];
    const auto load = [&](int n) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        next[i] = *reinterpret_cast<const float*>(activations + n * 32 + kShape.slot_offset(i));
    };
    load(0);
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      std::uint32_t b[2][2], b_rest[2][2];
      const float now[4] = {next[0], next[1], next[2], next[3]};
      if (n + 1 < kColumns) load(n + 1);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Operand operand(now[i]);
        b[i / 2][i % 2] = operand.big;
        b_rest[i / 2][i % 2] = operand.rest;
      }
      if constexpr (kSplit) {
        float part[kTiles][4] = {};
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int m = 0; m < kTiles; ++m) ptx::mma_tf32(part[m], rest[m][j], b[j]);
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int m = 0; m < kTiles; ++m) ptx::mma_tf32(part[m], big[m][j], b_rest[j]);
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int m = 0; m < kTiles; ++m) ptx::mma_tf32(part[m], big[m][j], b[j]);
#pragma unroll
        for (int m = 0; m < kTiles; ++m)
#pragma unroll
          for (int i = 0; i < 4; ++i) sum[m][n][i] += part[m][i];
      } else {
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int m = 0; m < kTiles; ++m) ptx::mma_tf32(sum[m][n], big[m][j], b[j]);
      }
    }
  }

  /// All half units of a warp share a list.
  __device__ static int unit(int) { return 0; }
  __device__ static int values_offset(int lane) { return lane * 16; }
  __device__ static int activations_offset(int lane) {
    return kShape.slot_offset(4 * (lane % 4)) + lane / 4 * 4;
  }

  template <bool kAdd>
  __device__ void keep(float* tile, int lane) const {
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          auto* at = reinterpret_cast<float2*>(
              tile + (16 * m + 8 * h + lane / 4) * kShape.sum_stride() + 8 * n + lane % 4 * 2);
          float2 v = make_float2(sum[m][n][2 * h], sum[m][n][2 * h + 1]);
          if constexpr (kAdd) {
            const float2 old = *at;
            v = make_float2(old.x + v.x, old.y + v.y);
          }
          *at = v;
        }
  }
};

}  // namespace coppice::cuda
