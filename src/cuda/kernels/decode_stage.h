// Activations of a chunk to shared memory: panels of 8 tokens, in which every column has a row of
// 16 bytes, so that ldmatrix reads any 8 columns. Columns behind the last become zeros; tokens
// behind the last hold anything, which reaches only sums of their own.
#pragma once

#include "cuda/kernels/decode_arguments.h"
#include "cuda/kernels/decode_layout.h"
#include "cuda/ptx/bytes.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/load_once.h"
#include "cuda/ptx/mma.h"

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

/// Calls `use(window, number, panel, first)` for every set of 4 blocks of 8 columns that this warp brings;
/// `first` is the number of its first block in the window.
template <int kPanels, typename Use>
__device__ inline void each_set(const DecodeArguments& a, const ProductArguments& p, int chunk,
                                int rank, const Use& use) {
  const int windows = a.shared_window ? 1 : a.shape.slice_warps;
#pragma unroll 1
  for (int number = 0; number < windows; ++number) {
    const Window w = window_of(a, p, chunk, rank, number);
    const int sets = (w.count + 31) / 32;
    for (int i = threadIdx.x / 32; i < sets * kPanels; i += blockDim.x / 32)
      use(w, number, i % kPanels, i / kPanels * 4);
  }
}

/// Token-major, on 16 bytes: asynchronous copies, all under way together, of 8 columns of a token to
/// where these columns' rows belong, a token a row; then the warp that copied 8 x 8 elements turns
/// them over in place.
template <int kPanels>
__device__ inline void stage_turned(const DecodeArguments& a, const ProductArguments& p, int chunk,
                                    std::int32_t first_token, std::uint32_t shared, int rank) {
  const int lane = threadIdx.x % 32, row = lane % 8, of_set = lane / 8;
  // Where a token's row of a block waits: neighbouring blocks begin at different banks.
  const auto raw_row = [&](int number, int panel, int block) {
    const std::uint32_t at = shared + panel * a.panel + (number * (a.window / 8) + block) * 128;
    return at + ((row ^ block) & 7) * 16;
  };
  each_set<kPanels>(a, p, chunk, rank, [&](const Window& w, int number, int panel, int first) {
    const int block = first + of_set, token = first_token + 8 * panel + row;
    if (8 * block >= w.count || token >= p.tokens) return;
    const int column = w.first + 8 * block, left = max(0, min(8, p.cols - column));
    const auto* source =
        static_cast<const std::uint16_t*>(p.x) + (left > 0 ? token * p.x_stride + column : 0);
    ptx::copy_async_16(raw_row(number, panel, block), source, static_cast<std::uint32_t>(2 * left));
  });
  ptx::copy_async_wait_all();
  __syncwarp();
  each_set<kPanels>(a, p, chunk, rank, [&](const Window& w, int number, int panel, int first) {
    std::uint32_t pairs[4];
    ptx::load_matrix_4_transposed(
        pairs, raw_row(number, panel, min(first + of_set, w.count / 8 - 1)));
    __syncwarp();
    const std::uint32_t to = shared + panel * a.panel + lane % 4 * 4;
#pragma unroll
    for (int m = 0; m < 4; ++m)
      if (8 * (first + m) < w.count)
        ptx::store_shared(to + panel_row(number * a.window + 8 * (first + m) + lane / 4) * 16,
                          pairs[m]);
  });
}

/// Token-major of any alignment: a thread brings 8 tokens of 4 columns at a time, transposed in
/// registers (8 columns would take so many that records under way had to wait in memory).
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
      const uint4 raw = gather_elements(source + i * p.x_stride, min(4, p.cols - column));
      low[i] = raw.x;
      high[i] = raw.y;
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

/// Feature-major: a row of a panel lies in x as it is, and is copied asynchronously if it can be.
template <int kPanels>
__device__ inline void stage_feature_major(const DecodeArguments& a, const ProductArguments& p,
                                           int chunk, std::int32_t first_token,
                                           std::uint32_t shared, int rank) {
  const int windows = a.shared_window ? 1 : a.shape.slice_warps;
#pragma unroll 1
  for (int number = 0; number < windows; ++number) {
    const Window w = window_of(a, p, chunk, rank, number);
    for (int i = threadIdx.x; i < w.count * kPanels; i += blockDim.x) {
      const int panel = i % kPanels, column = w.first + i / kPanels;
      const int token = first_token + 8 * panel, tokens = p.tokens - token;
      const std::uint32_t target =
          shared + panel * a.panel + panel_row(number * a.window + i / kPanels) * 16;
      const int there = column < p.cols ? max(0, min(8, tokens)) : 0;
      const auto* source = static_cast<const std::uint16_t*>(p.x) +
                           (there > 0 ? column * p.x_stride + token : 0);
      if (a.x_wide)
        ptx::copy_async_16(target, source, static_cast<std::uint32_t>(2 * there));
      else
        ptx::store_shared(target, gather_elements(source, there));
    }
  }
  ptx::copy_async_wait_all();
}

template <int kPanels>
__device__ inline void stage_chunk(const DecodeArguments& a, const ProductArguments& p, int chunk,
                                   std::int32_t first_token, std::uint32_t shared, int rank) {
  if (kPanels == 1 && p.tokens == 1 && (a.x_token_major || p.x_stride == 1))
    stage_token(a, p, chunk, shared, rank);
  else if (a.x_token_major && a.x_wide)
    stage_turned<kPanels>(a, p, chunk, first_token, shared, rank);
  else if (a.x_token_major)
    stage_token_major<kPanels>(a, p, chunk, first_token, shared, rank);
  else
    stage_feature_major<kPanels>(a, p, chunk, first_token, shared, rank);
}

}  // namespace coppice::cuda::decode
