// Activations of a chunk to shared memory: panels of 8 tokens, in which every column has a row of
// 16 bytes, so that ldmatrix reads any 8 columns. Columns behind the last become zeros; tokens
// behind the last hold anything, which reaches only sums of their own.
#pragma once

#include "cuda/kernels/decode_arguments.h"
#include "cuda/kernels/decode_layout.h"
#include "cuda/ptx/bytes.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/load_once.h"

namespace coppice::cuda::decode {

/// `count` elements as 16 bytes; zeros behind them.
__device__ inline uint4 gather_elements(const std::uint16_t* from, int count) {
  std::uint32_t pairs[4] = {};
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (i < count) pairs[i / 2] |= static_cast<std::uint32_t>(__ldcg(from + i)) << 16 * (i % 2);
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/// What one window of a chunk (a slice's, or all columns) takes of x: columns [first, first +
/// count), none if count is not positive.
struct Window {
  std::int32_t first, count;
};
__device__ inline Window window_of(const DecodeArguments& a, const ProductArguments& p, int chunk,
                                   int rank, int number) {
  if (a.shared_window) return {0, a.window};
  const DecodeShape& s = a.shape;
  const int slice = rank * s.slice_warps + number;
  const int begin = slice_begin(p.steps, slice, s.slices()) + chunk * s.chunk_steps;
  const int end = slice_begin(p.steps, slice + 1, s.slices());
  const int step_columns = kStepQuads * p.columns.group;
  return {begin * step_columns, min(a.window, (end - begin) * step_columns)};
}

/// Columns of x from `column` on that lie behind each other: 8 elements of one token.
__device__ inline uint4 load_octet(const DecodeArguments& a, const ProductArguments& p,
                                   std::int64_t token, int column) {
  const int columns = p.cols - column;
  if (columns <= 0) return make_uint4(0, 0, 0, 0);
  const std::uint16_t* source =
      static_cast<const std::uint16_t*>(p.x) + token * p.x_stride + column;
  if (a.x_wide && columns >= 8) return __ldcg(reinterpret_cast<const uint4*>(source));
  return gather_elements(source, columns);
}

/// One token whose columns lie behind each other: a thread brings 8 columns at a time, and writes
/// nothing else of their rows.
__device__ inline void stage_token(const DecodeArguments& a, const ProductArguments& p, int chunk,
                                   std::uint32_t shared, int rank) {
  const int octets = a.window / 8;
  const int jobs = (a.shared_window ? 1 : a.shape.slice_warps) * octets;
#pragma unroll 2
  for (int job = threadIdx.x; job < jobs; job += blockDim.x) {
    const int window = job / octets;
    const int octet = job - window * octets;
    const Window w = window_of(a, p, chunk, rank, window);
    if (8 * octet >= w.count) continue;
    const uint4 row = load_octet(a, p, 0, w.first + 8 * octet);
    const std::uint32_t pairs[4] = {row.x, row.y, row.z, row.w};
#pragma unroll
    for (int i = 0; i < 8; ++i)
      ptx::store_shared_2(shared + panel_row(8 * job + i) * 16, pairs[i / 2] >> 16 * (i % 2));
  }
}

/// Token-major: a thread brings 8 tokens of 4 columns at a time, transposed in registers (8 columns
/// would take so many that records under way had to wait in memory).
template <int kPanels>
__device__ inline void stage_token_major(const DecodeArguments& a, const ProductArguments& p,
                                         int chunk, std::int32_t first_token, std::uint32_t shared,
                                         int rank) {
  const int quads = a.window / 4;
  const int of_panel = (a.shared_window ? 1 : a.shape.slice_warps) * quads;
#pragma unroll 1
  for (int job = threadIdx.x; job < of_panel * kPanels; job += blockDim.x) {
    const int panel = kPanels == 1 ? 0 : job / of_panel;
    const int number = job - panel * of_panel;
    const int window = number / quads;
    const Window w = window_of(a, p, chunk, rank, window);
    const int quad = number - window * quads;
    if (4 * quad >= w.count) continue;
    const int token = first_token + 8 * panel, column = w.first + 4 * quad;
    const std::uint16_t* source =
        static_cast<const std::uint16_t*>(p.x) + token * p.x_stride + column;
    std::uint32_t low[8] = {}, high[8] = {};  // columns 0 and 1, 2 and 3 of each token
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (token + i >= p.tokens) continue;
      if (a.x_wide && column + 4 <= p.cols) {
        const uint2 raw = __ldcg(reinterpret_cast<const uint2*>(source + i * p.x_stride));
        low[i] = raw.x;
        high[i] = raw.y;
      } else {
        const uint4 raw = gather_elements(source + i * p.x_stride, min(4, p.cols - column));
        low[i] = raw.x;
        high[i] = raw.y;
      }
    }
    const std::uint32_t target = shared + panel * a.panel;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t(&from)[8] = i < 2 ? low : high;
      const auto pair = [&](int t) {
        return ptx::select_bytes(from[t], from[t + 1], i % 2 == 0 ? 0x5410 : 0x7632);
      };
      ptx::store_shared(target + panel_row(4 * number + i) * 16,
                        make_uint4(pair(0), pair(2), pair(4), pair(6)));
    }
  }
}

/// Feature-major: a row of a panel lies in x as it is.
template <int kPanels>
__device__ inline void stage_feature_major(const DecodeArguments& a, const ProductArguments& p,
                                           int chunk, std::int32_t first_token,
                                           std::uint32_t shared, int rank) {
  const int rows = (a.shared_window ? 1 : a.shape.slice_warps) * a.window;
#pragma unroll 2
  for (int job = threadIdx.x; job < rows * kPanels; job += blockDim.x) {
    const int panel = job % kPanels, number = job / kPanels;
    const int window = number / a.window;
    const Window w = window_of(a, p, chunk, rank, window);
    const int i = number - window * a.window;
    if (i >= w.count) continue;
    const int column = w.first + i, token = first_token + 8 * panel;
    const int tokens = p.tokens - token;
    uint4 row = make_uint4(0, 0, 0, 0);
    if (column < p.cols && tokens > 0) {
      const std::uint16_t* source =
          static_cast<const std::uint16_t*>(p.x) + column * p.x_stride + token;
      if (a.x_wide && tokens >= 8)
        row = __ldcg(reinterpret_cast<const uint4*>(source));
      else
        row = gather_elements(source, tokens);
    }
    ptx::store_shared(shared + panel * a.panel + panel_row(number) * 16, row);
  }
}

template <int kPanels>
__device__ inline void stage_chunk(const DecodeArguments& a, const ProductArguments& p, int chunk,
                                   std::int32_t first_token, std::uint32_t shared, int rank) {
  if (kPanels == 1 && p.tokens == 1 && (a.x_token_major || p.x_stride == 1))
    stage_token(a, p, chunk, shared, rank);
  else if (a.x_token_major)
    stage_token_major<kPanels>(a, p, chunk, first_token, shared, rank);
  else
    stage_feature_major<kPanels>(a, p, chunk, first_token, shared, rank);
}

}  // namespace coppice::cuda::decode
