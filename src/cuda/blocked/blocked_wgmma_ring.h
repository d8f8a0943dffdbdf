// Stages of a kernel of warpgroups: what lies where, and the barriers around them. A stage has the
// values of 16 slots of the tile's rows, half unit after half unit, as atoms of the 64-byte swizzle
// that wgmma reads (where activations and weights are divided into two numbers, the first ones of
// all rows, then the rests), and after them a row of activations for every slot.
#pragma once

#include "cuda/blocked/blocked_arguments.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda {

template <BlockedShape kShape>
struct WgmmaRing {
  static constexpr std::uint32_t kStageBytes = kShape.stage_bytes(1);
  static constexpr std::uint32_t kPartBytes = kShape.half_units() * BlockedShape::kPieceRows;
  static constexpr std::uint32_t kActivations = kShape.weight_bytes();
  static_assert(kStageBytes % 512 == 0, "atoms of the swizzle");
  // A barrier tells two phases apart: who waits for one has seen the end of the one before.
  static_assert(kShape.stages % kShape.loaders() == 0,
                "a stage's values are divided, or its rows loaded, by the same warp every time");

  std::uint32_t stages, barriers;  // shared memory
  std::uint32_t number = 0, parity = 0;

  __device__ explicit WgmmaRing(const std::byte* shared)
      : stages(ptx::shared_address(shared)), barriers(stages + kShape.stages * kStageBytes) {}

  __device__ void init() const {
    WgmmaRing at = *this;
    for (; at.number < kShape.stages; ++at.number) {
      ptx::barrier_init(at.loaded(), kShape.stage_loaders() * 32);
      ptx::barrier_init(at.full(), 1);
      ptx::barrier_init(at.empty(), kShape.warps());
      if constexpr (kShape.boxes()) ptx::barrier_init(at.read(), kShape.warps());
    }
    ptx::fence_barrier_init();
  }
  __device__ std::uint32_t stage() const { return stages + number * kStageBytes; }
  /// What the loading warps copy is there; values are there as wgmma wants them; nobody needs
  /// values any more.
  __device__ std::uint32_t loaded() const { return barriers + number * BlockedShape::kBarrier; }
  __device__ std::uint32_t full() const {
    return loaded() + kShape.stages * BlockedShape::kBarrier;
  }
  __device__ std::uint32_t empty() const { return full() + kShape.stages * BlockedShape::kBarrier; }
  /// Nobody needs activations any more: for one product, whose values have other copies.
  __device__ std::uint32_t read() const { return empty() + kShape.stages * BlockedShape::kBarrier; }
  __device__ void wait_loaded() const { ptx::barrier_wait(loaded(), parity); }
  __device__ void wait_full() const { ptx::barrier_wait(full(), parity); }
  /// At once the first time round.
  __device__ void wait_empty() const { ptx::barrier_wait(empty(), parity ^ 1); }
  __device__ void wait_read() const { ptx::barrier_wait(read(), parity ^ 1); }
  __device__ void advance() {
    if (++number < kShape.stages) return;
    number = 0;
    parity ^= 1;
  }
};

/// Of a tile, with steps behind the last piece, whose values are 0, up to whole groups.
template <BlockedShape kShape>
__device__ int wgmma_steps(const BlockedArguments& p) {
  constexpr int kGroup = kShape.group_pieces;
  return (p.weight.layout.pieces + kGroup - 1) / kGroup * kGroup;
}

/// The tiles of a thread block: every grid-th one.
struct WgmmaTiles {
  const BlockedArguments& p;
  int tile, step = 0;
  int first_row = 0, first_token = 0;

  __device__ explicit WgmmaTiles(const BlockedArguments& arguments)
      : p(arguments), tile(static_cast<int>(blockIdx.x)) {}
  __device__ bool done() const { return tile >= p.row_tiles * p.token_tiles; }
  __device__ void next() { tile += static_cast<int>(gridDim.x); }
  template <BlockedShape kShape>
  __device__ void place() {
    const TilePlace at = tile_place(tile, p.row_tiles, p.token_tiles, p.token_group);
    first_row = at.row_tile * kShape.rows();
    first_token = at.token_tile * kShape.tokens();
  }
};

}  // namespace coppice::cuda
