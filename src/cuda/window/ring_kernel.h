// Products of vectors of 16 rows and more with many tokens on mma.sync, for Hopper: the windows of
// window_kernel.h with everything brought by warps of their own, so that those that multiply read
// shared memory alone.
//
// A thread block has a tile of 256 rows x 64 or 128 tokens and walks over pieces of 32 values of a
// row. A stage has a piece's window of columns, shared by all vectors of the tile, the values of
// its rows, and the columns of its lists as addresses (ring_layout.h). One thread orders the former
// two from the copy engine, one or two warps write the codes. A warp multiplies 32 rows by all
// tokens: its values once, activations of its columns by 16-byte reads, eight tokens of a column a
// lane, without bank conflicts where `shift` finds the distance of columns. Two columns' tokens are
// put together to operand A by byte permutations (which token is which row of A is free); B is the
// 16 bytes of a row as they lie. ldmatrix would put together eight columns, which meet in the same
// banks 2.3 times as columns lie.
//
// What counts and what was tried: docs/performance/window.md, "Rings".
#pragma once

#include <utility>

#include "cuda/ptx/launch.h"
#include "cuda/ptx/mma.h"
#include "cuda/window/ring_fill.h"
#include "cuda/window/ring_output.h"

namespace coppice::cuda {

/// The products of a warp. kLists: of its 32 rows.
template <Dtype kType, int kPanels, int kLists>
class RingWarp {
 public:
  using Sums = typename RingOutput<kType, kPanels>::Sums;

  __device__ RingWarp(const RingArguments& p, const Ring<kPanels, kLists>& ring, int warp, int lane)
      : at_(ring, p),
        panel_bytes_(ring.window_bytes(p) / kPanels),
        lane_byte_(static_cast<std::uint32_t>(lane / 4 * 16)),
        leads_(lane == 0) {
    const std::uint32_t values = ring.window_bytes(p) + kHalves * kPieceRows * warp;
    values_ =
        at_.stage + values + static_cast<std::uint32_t>(piece_lane(p.weight.layout, lane) * 16);
    lists_ = at_.stage + ring.window_bytes(p) + RingShape{kPanels}.weight_bytes() +
             static_cast<std::uint32_t>(warp * kLists * kRingListBytes + lane % 4 * 16);
  }

  /// What the first products need.
  __device__ void start() {
    ptx::barrier_wait(at_.full, at_.parity);
    load_lists();
    load_values(values_of_piece_);
    load<0>();
  }
  /// All products of a tile. What the next one begins with is read.
  __device__ void multiply(int pieces, Sums& sums) {
#pragma unroll 1
    for (int piece = 0; piece < pieces; ++piece)
      multiply_piece(sums, std::make_integer_sequence<int, kUnits>());
  }

 private:
  static constexpr int kHalves = kRingWarpRows / 8;  // half units of 8 rows
  static constexpr std::uint32_t kPieceRows = 32 * kPieceBytes;
  // Of a list, 16 places and 64 tokens: 4 x 4 / kLists mma.
  static constexpr int kOfList = 2 * kPanels, kUnits = kLists * kOfList;

  template <int... kUnit>
  __device__ void multiply_piece(Sums& sums, std::integer_sequence<int, kUnit...>) {
    const std::uint32_t release = at_.free();
    // Asked for early: the answer comes behind the reads of shared memory.
    const bool ready = ptx::barrier_test(at_.next_full(), at_.next_parity());
    uint4 next[kHalves];
    (multiply_unit<kUnit>(ready, next, sums), ...);
    __syncwarp();
    if (leads_) ptx::barrier_arrive(release);
#pragma unroll
    for (int i = 0; i < kHalves; ++i) values_of_piece_[i] = next[i];
  }
  /// Multiplies a unit, and asks for what the next one needs.
  template <int kUnit>
  __device__ void multiply_unit(bool ready, uint4 (&next)[kHalves], Sums& sums) {
    load<(kUnit + 1) % kUnits>();
    if constexpr (kUnit + 2 == kUnits) {
      enter_stage();
      if (!ready) ptx::barrier_wait(at_.full, at_.parity);
      load_lists();
    }
    if constexpr (kUnit + 1 == kUnits) load_values(next);
    products<kUnit>(sums);
  }
  __device__ void enter_stage() {
    const std::uint32_t step = at_.step();
    values_ += step;
    lists_ += step;
    at_.advance();
  }

  __device__ void load_lists() {
#pragma unroll
    for (int i = 0; i < kLists; ++i) codes_[i] = ptx::load_shared_16(lists_ + i * kRingListBytes);
  }
  __device__ void load_values(uint4 (&to)[kHalves]) const {
#pragma unroll
    for (int i = 0; i < kHalves; ++i) to[i] = ptx::load_shared_16(values_ + i * kPieceRows);
  }
  /// Eight tokens of four columns.
  template <int kUnit>
  __device__ void load() {
    constexpr int kList = kUnit / kOfList, kStep = kUnit % kOfList / kPanels;
    const std::uint32_t panel = at_.stage + kUnit % kPanels * panel_bytes_;
    const uint4& codes = codes_[kList];
    const std::uint32_t two[2] = {kStep == 0 ? codes.x : codes.z, kStep == 0 ? codes.y : codes.w};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      columns_[kUnit % 2][2 * i] = ptx::load_shared_16(panel + ((two[i] & 0xFFFFu) ^ lane_byte_));
      columns_[kUnit % 2][2 * i + 1] = ptx::load_shared_16(panel + (two[i] >> 16 ^ lane_byte_));
    }
  }
  /// Tokens 8g + 2i (row g of A) and 8g + 2i + 1 (row g + 8) of places 2t, 2t + 1, 2t + 8, 2t + 9.
  template <int kUnit>
  __device__ void operand(int i, std::uint32_t (&a)[4]) const {
    const auto word = [i](const uint4& v) {
      return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
    };
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const std::uint32_t even = word(columns_[kUnit % 2][2 * h]);
      const std::uint32_t odd = word(columns_[kUnit % 2][2 * h + 1]);
      a[2 * h] = __byte_perm(even, odd, 0x5410);
      a[2 * h + 1] = __byte_perm(even, odd, 0x7632);
    }
  }
  template <int kUnit>
  __device__ void products(Sums& sums) const {
    constexpr int kList = kUnit / kOfList, kStep = kUnit % kOfList / kPanels;
    constexpr int kOwn = kHalves / kLists;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      std::uint32_t a[4];
      operand<kUnit>(i, a);
#pragma unroll
      for (int j = kList * kOwn; j < (kList + 1) * kOwn; ++j) {
        const uint4& v = values_of_piece_[j];
        const std::uint32_t b[2] = {kStep == 0 ? v.x : v.z, kStep == 0 ? v.y : v.w};
        ptx::dense_mma<kType>(sums[kUnit % kPanels][i][j], a, b);
      }
    }
  }

  RingPlace<kPanels, kLists> at_;  // of what is asked for
  std::uint32_t panel_bytes_, lane_byte_, values_, lists_;
  bool leads_;
  uint4 codes_[kLists];
  uint4 values_of_piece_[kHalves];
  uint4 columns_[2][4];
};

template <Dtype kType, int kPanels, int kLists>
__device__ void multiply_ring(const RingArguments& p, const Ring<kPanels, kLists>& ring) {
  constexpr RingShape kShape{kPanels};
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  RingWarp<kType, kPanels, kLists> products(p, ring, warp, lane);
  products.start();
  const int pieces = p.weight.layout.pieces;
#pragma unroll 1
  for (int tile = blockIdx.x; tile < p.row_tiles * p.token_tiles; tile += gridDim.x) {
    typename RingOutput<kType, kPanels>::Sums sums = {};
    products.multiply(pieces, sums);
    const TilePlace place = tile_place(tile, p.row_tiles, p.token_tiles, p.token_group);
    const RingOutput<kType, kPanels> out(p.epilogue, p.weight.layout.rows, p.tokens,
                                         place.row_tile * kShape.rows() + warp * kRingWarpRows,
                                         place.token_tile * kShape.tokens(), lane);
    out.store(sums);
  }
}

template <Dtype kType, int kPanels, int kLists>
__global__ void __launch_bounds__(RingShape{kPanels}.threads(), 1)
    ring_kernel(const __grid_constant__ RingArguments p, const __grid_constant__ CUtensorMap x,
                const __grid_constant__ CUtensorMap values) {
  constexpr int kBringer = 40, kMultiplier = 232;  // registers: together those of the beginning
  extern __shared__ __align__(128) std::byte ring_shared[];
  const Ring<kPanels, kLists> ring(ring_shared);
  if (threadIdx.x == 0) ring.init(p);
  __syncthreads();
  ptx::let_next_kernel_begin();
  ptx::wait_for_kernels_before();
  if (threadIdx.x >= 32 * kRingWarps) {
    ptx::registers_lower<kBringer>();
    const int warp = static_cast<int>(threadIdx.x) / 32 - kRingWarps;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (warp == 0) {
      if (lane == 0) order_boxes(p, x, values, ring);
    } else if (warp <= kLists) {
      RingCodes<kPanels, kLists>(p, ring, warp - 1, lane).run();
    }
  } else {
    ptx::registers_raise<kMultiplier>();
    multiply_ring<kType>(p, ring);
  }
}

}  // namespace coppice::cuda
