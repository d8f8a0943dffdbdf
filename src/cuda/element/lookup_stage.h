// Activations of the look-up kernels on their way to shared memory: whole words where they lie
// together.
#pragma once

#include "cuda/element/lookup_item.h"
#include "cuda/element/stage.h"

namespace coppice::cuda {

/// A word of 16 bytes, 8 columns, of each of four tokens; those of a column together.
__device__ inline void store_pairs(const uint4 (&raw)[4], std::byte* out) {
  auto* to = reinterpret_cast<uint4*>(out);
  const auto pair = [&](std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    constexpr std::uint32_t kLow = 0x5410, kHigh = 0x7632;
    return make_uint4(ptx::select_bytes(a, b, kLow), ptx::select_bytes(c, d, kLow),
                      ptx::select_bytes(a, b, kHigh), ptx::select_bytes(c, d, kHigh));
  };
  to[0] = pair(raw[0].x, raw[1].x, raw[2].x, raw[3].x);
  to[1] = pair(raw[0].y, raw[1].y, raw[2].y, raw[3].y);
  to[2] = pair(raw[0].z, raw[1].z, raw[2].z, raw[3].z);
  to[3] = pair(raw[0].w, raw[1].w, raw[2].w, raw[3].w);
}

/// A word of 16 bytes of every token, those of a column together.
template <LookupConfig kConfig>
__device__ inline void store_columns(const uint4 (&raw)[kConfig.tokens], std::byte* out) {
  if constexpr (!kConfig.as_floats()) {
    store_pairs(raw, out);
    return;
  }
  constexpr int kTokens = kConfig.tokens, kWide = kConfig.per_piece();
  float x[kTokens][kWide];
#pragma unroll
  for (int token = 0; token < kTokens; ++token) {
    const std::uint32_t words[4] = {raw[token].x, raw[token].y, raw[token].z, raw[token].w};
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      if constexpr (kConfig.type == Dtype::f32) {
        x[token][j] = __uint_as_float(words[j]);
      } else {
        const float2 pair = unpack_pair<kConfig.type>(words[j / 2]);
        x[token][j] = j % 2 == 0 ? pair.x : pair.y;
      }
    }
  }
  auto* to = reinterpret_cast<float4*>(out);
#pragma unroll
  for (int j = 0; j < kWide * kTokens / 4; ++j) {
    float v[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = x[(4 * j + k) % kTokens][(4 * j + k) / kTokens];
    to[j] = make_float4(v[0], v[1], v[2], v[3]);
  }
}

/// Columns [columns.first, end), whole words of 16 bytes of tokens whose columns lie together.
template <LookupConfig kConfig>
__device__ inline void stage_words(const ElementArguments& p, ChunkColumns columns, int end,
                                   int first_token, std::byte* out) {
  constexpr int kTokens = kConfig.tokens, kWide = kConfig.per_piece();
  // 8192 columns of a token by 512 threads: code that is not there need not be fetched.
  constexpr int kTogether = kWide * kTokens < 16 ? 16 / kWide / kTokens : 1;
  const int step = static_cast<int>(blockDim.x) * kWide;
  const std::byte* x[kTokens];
#pragma unroll
  for (int token = 0; token < kTokens; ++token)
    x[token] = static_cast<const std::byte*>(p.x) +
               (first_token + token) * p.x_token * kConfig.element_bytes();
  for (int first = columns.first + static_cast<int>(threadIdx.x) * kWide; first < end;
       first += kTogether * step) {
    uint4 raw[kTogether][kTokens];
#pragma unroll
    for (int b = 0; b < kTogether; ++b)
#pragma unroll
      for (int token = 0; token < kTokens; ++token) {
        const int column = first + b * step;
        raw[b][token] = make_uint4(0, 0, 0, 0);
        if (column < end && first_token + token < p.tokens)
          raw[b][token] =
              *reinterpret_cast<const uint4*>(x[token] + column * kConfig.element_bytes());
      }
    // All loads are under way before the first store, which waits for one: the compiler knows no
    // reason for that order.
    __syncwarp(__activemask());
#pragma unroll
    for (int b = 0; b < kTogether; ++b) {
      const int column = first + b * step;
      if (column < end)
        store_columns<kConfig>(raw[b], out + ((column - columns.first) ^ kConfig.turn(column)) *
                                                 kConfig.column_bytes());
    }
  }
}

/// Columns [columns.first, columns.last) of the tile's tokens, those of a column together.
template <LookupConfig kConfig>
__device__ inline void stage_activations(const ElementArguments& p, ChunkColumns columns,
                                         int first_token, std::byte* out) {
  constexpr int kTokens = kConfig.tokens, kWide = kConfig.per_piece();
  int first = columns.first;
  // As far as words go; both ends of the columns are multiples of 8.
  const int end = min(columns.last, p.weight.layout.cols / kWide * kWide);
  if (p.wide && p.weight.sources == nullptr && first < end) {
    stage_words<kConfig>(p, columns, end, first_token, out);
    first = end;
  }
  const int done = first - columns.first;
  stage_singly<kConfig.type>(
      p, (columns.last - first) * kTokens, [&](int i) { return first + i / kTokens; },
      [&](int i) { return first_token + i % kTokens; },
      [&](int i, float x) {
        const int column = done + i / kTokens;
        const int element = (column ^ kConfig.turn(columns.first + column)) * kTokens + i % kTokens;
        if constexpr (kConfig.as_floats())
          reinterpret_cast<float*>(out)[element] = x;
        else
          store_value<kConfig.type>(out, element, x);
      });
}

}  // namespace coppice::cuda
