// Y = act(alpha W X + bias) + residual for many tokens on CUDA cores: 32-bit weights whose vectors
// have few rows, element-wise ones too. A vector of four rows uses an activation four times: too
// few times for gathering it from L2 (blocked_kernel.h), which would have to deliver 128 bytes a
// clock and multiprocessor. So the rows of a tile share windows of activations in shared memory,
// whose 128 bytes a clock are enough for that: a lane has four rows x 16 tokens, and for each slot
// of its vector reads 64 bytes of activations, from all banks, and 16 of values, which lanes of a
// quarter share, for 64 products. Element-wise weights read 64 bytes for 16 products, and shared
// memory allows a quarter of the rate. Activations are feature-major. Sums of an output are added
// up group by group, whatever the tile and the window.
#pragma once

#include "cuda/blocked/blocked_output.h"
#include "cuda/blocked/blocked_rows.h"
#include "cuda/ptx/copy_4.h"

namespace coppice::cuda {

/// Windows of activations on their way: warp w brings columns w, w + warps and so on of a part of a
/// window, lane t the four tokens from 4t on.
template <BlockedShape kShape>
struct BlockedWindows {
  static constexpr int kColumnBytes = kShape.tokens() * 4;

  const BlockedArguments& p;
  const std::byte* x;
  int lane, warp;
  int tokens;      // of the lane that exist
  bool whole;      // all tokens of the tile do
  int source = 0;  // of its warp's column number `lane`

  __device__ BlockedWindows(const BlockedArguments& arguments, int first_token)
      : p(arguments),
        lane(static_cast<int>(threadIdx.x) % 32),
        warp(static_cast<int>(threadIdx.x) / 32),
        tokens(max(0, min(4, p.tokens - first_token - 4 * lane))),
        whole(first_token + kShape.tokens() <= p.tokens) {
    x = static_cast<const std::byte*>(p.x) + (std::int64_t{first_token} + 4 * lane) * 4;
  }

  /// Whether it can do without looking for columns one by one, and has whole columns.
  __device__ bool in_order(int window) const {
    return whole && p.weight.sources == nullptr &&
           (window + 1) * p.window.columns <= p.weight.layout.cols;
  }
  /// Columns [first, last) of a part.
  __device__ int first(int part) const { return part * p.window.part_columns + warp; }
  __device__ int last(int part) const {
    return min((part + 1) * p.window.part_columns, p.window.columns);
  }
  /// Asks where the columns of a part lie.
  __device__ void load_sources(int window, int part) {
    const int column = first(part) + lane * kShape.warps();
    if (window >= p.window.windows || in_order(window) || column >= last(part)) return;
    source = activation_column(p.weight, window * p.window.columns + column);
  }
  /// Asks for them. Of padding, whose values are 0, any column.
  __device__ void copy(int window, int part, std::uint32_t buffer) const {
    if (window >= p.window.windows) return;
    const int end = last(part);
    if (in_order(window)) {
      constexpr std::uint32_t kNext = kShape.warps() * kColumnBytes;
      const std::int64_t bytes = p.x_column * 4;
      int column = first(part);
      std::uint32_t out = buffer + static_cast<std::uint32_t>(column * kColumnBytes + lane * 16);
      const std::byte* from = x + (window * p.window.columns + column) * bytes;
#pragma unroll 4
      for (; column < end; column += kShape.warps(), out += kNext, from += kShape.warps() * bytes)
        ptx::copy_async_16(out, from);
      return;
    }
    const std::uint32_t to = buffer + static_cast<std::uint32_t>(lane) * 16;
    int number = 0;
#pragma unroll 1
    for (int column = first(part); column < end; column += kShape.warps()) {
      const std::byte* from = x + max(0, __shfl_sync(~0u, source, number++)) * p.x_column * 4;
      const std::uint32_t out = to + static_cast<std::uint32_t>(column * kColumnBytes);
      if (tokens == 4) ptx::copy_async_16(out, from);
#pragma unroll 1
      for (int i = 0; i < tokens % 4; ++i) ptx::copy_async_4(out + i * 4, from + i * 4);
    }
  }
};

/// Four rows x 16 tokens of a lane: four neighbours, and those 32, 64 and 96 behind.
template <BlockedShape kShape>
struct BlockedSums {
  static_assert(kShape.tokens() == 128 && kShape.warp_units == 2);
  float sum[4][16];

  __device__ void clear() {
#pragma unroll
    for (auto& row : sum)
#pragma unroll
      for (float& one : row) one = 0;
  }

  __device__ static void load(float (&x)[16], const std::byte* from) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float4 four = *reinterpret_cast<const float4*>(from + j * 128);
      x[4 * j] = four.x, x[4 * j + 1] = four.y, x[4 * j + 2] = four.z, x[4 * j + 3] = four.w;
    }
  }
  template <int kFirst, int kLast>
  __device__ void add(const float4& values, const float (&x)[16]) {
    const float row[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
    for (int i = kFirst; i < kLast; ++i)
#pragma unroll
      for (int j = 0; j < 16; ++j) sum[i][j] = fmaf(row[i], x[j], sum[i][j]);
  }

  /// What a lane multiplies next is on its way to registers: there are few warps. Behind the last
  /// slot four offsets are 0 (BlockedRows::turn).
  /// @param values, offsets of this lane's quarter, activations of its first tokens.
  __device__ void multiply(const std::byte* values, const std::byte* offsets,
                           const std::byte* activations, int slots) {
    const auto value = [&](int slot) {
      return *reinterpret_cast<const float4*>(values + slot * kSlotBytes);
    };
    constexpr int kOffsetStep = kShape.row_lists == 1 ? kSlotBytes / 4 : kSlotBytes;
    const auto offset = [&](int slot) {
      return *reinterpret_cast<const uint4*>(offsets + slot * kOffsetStep);
    };
    float x[2][16];
    uint4 at = offset(0);
    float4 now = value(0);
    load(x[0], activations + at.x);
    if constexpr (kShape.row_lists == 1) {
#pragma unroll 1
      for (int slot = 0; slot < slots; slot += 4) {
        const uint4 later = offset(slot + 4);
        const std::uint32_t next[4] = {at.y, at.z, at.w, later.x};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          load(x[(i + 1) % 2], activations + next[i]);
          const float4 four = value(slot + i + 1);
          add<0, 4>(now, x[i % 2]);
          now = four;
        }
        at = later;
      }
    } else {
#pragma unroll 1
      for (int slot = 0; slot < slots; ++slot) {
        const uint4 later = offset(slot + 1);
        const float4 four = value(slot + 1);
        load(x[1], activations + at.y);
        add<0, 1>(now, x[0]);
        load(x[0], activations + at.z);
        add<1, 2>(now, x[1]);
        load(x[1], activations + at.w);
        add<2, 3>(now, x[0]);
        load(x[0], activations + later.x);
        add<3, 4>(now, x[1]);
        at = later;
        now = four;
      }
    }
  }

  /// @param tile the warp's part of the sums.
  __device__ void keep(float* tile, int lane) const {
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        *reinterpret_cast<float4*>(tile + (lane / 8 * 4 + i) * kShape.sum_stride() + 32 * j +
                                   lane % 8 * 4) =
            make_float4(sum[i][4 * j], sum[i][4 * j + 1], sum[i][4 * j + 2], sum[i][4 * j + 3]);
  }
};

template <int kNumber>
__global__ void __launch_bounds__(kBlockedShapes[kNumber].threads(),
                                  kBlockedShapes[kNumber].thread_blocks)
    short_vectors_kernel(const __grid_constant__ BlockedArguments p) {
  constexpr BlockedShape kShape = kBlockedShapes[kNumber];
  extern __shared__ __align__(128) std::byte windows_shared[];
  const TilePlace place =
      tile_place(static_cast<std::int32_t>(blockIdx.x), p.row_tiles, p.token_tiles, p.token_group);
  const int first_row = place.row_tile * kShape.rows();
  const int first_token = place.token_tile * kShape.tokens();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const BlockedWindow& w = p.window;
  const ElementLayout& l = p.weight.layout;
  const int buffer_bytes = w.buffer_bytes(kShape);
  std::byte* shared = windows_shared;

  BlockedRows<kShape> rows(p, shared + 2 * buffer_bytes + warp * w.warp_bytes(kShape),
                           first_row + warp * kWarpRows);
  BlockedWindows<kShape> windows(p, first_token);
  const auto buffer = [&](int window) {
    return ptx::shared_address(shared) + static_cast<std::uint32_t>(window % 2 * buffer_bytes);
  };
  BlockedStep now = blocked_step(l, w, 0, 0), next = next_step(l, w, now);
  rows.load_lists(now);
  rows.copy(now);
  for (int part = 0; part < w.parts; ++part) {
    windows.load_sources(0, part);
    windows.copy(0, part, buffer(0));
  }
  windows.load_sources(1, 0);
  ptx::copy_async_wait_all();
  __syncwarp();
  const auto turn = [&] {
    rows.turn(now);
    rows.load_lists(next);
    __syncwarp();
  };
  // Some warps turn what has come when a step ends, others when the next one begins: so that there
  // are always some that multiply.
  const bool turns_late = warp / 4 % 2 == 1;
  BlockedSums<kShape> sums;
  sums.clear();
  while (now.window < w.windows) {
    if (!turns_late) turn();
    if (now.part == 0) __syncthreads();
    windows.copy(now.window + 1, now.part, buffer(now.window + 1));
    if (turns_late) turn();
    rows.copy(next);
    windows.load_sources(next.window + 1, next.part);
    sums.multiply(rows.values + lane / 8 * 16, rows.offsets + lane / 8 * 16,
                  shared + now.window % 2 * buffer_bytes + lane % 8 * 16,
                  ((now.slots << w.stream_shift) + 3) / 4 * 4);
    ptx::copy_async_wait_all();
    __syncwarp();
    now = next;
    next = next_step(l, w, now);
  }
  __syncthreads();
  auto* tile = reinterpret_cast<float*>(shared);
  sums.keep(tile + warp * kWarpRows * kShape.sum_stride(), lane);
  __syncthreads();
  store_tile<kShape>(p, tile, first_row, first_token);
}

}  // namespace coppice::cuda
