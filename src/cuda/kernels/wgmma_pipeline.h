// The stages between producers and consumers of a wgmma kernel, and the order of its tiles.
#pragma once

#include "cuda/kernels/wgmma_config.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda {

/// Shared memory: activation tiles, weight records, outputs on their way, columns, barriers.
template <WgmmaConfig kConfig>
struct Pipeline {
  static constexpr int kStages = kConfig.shape.stages;
  std::uint32_t activations, weights, staging, columns, full, empty;
  std::uint32_t stage = 0, phase = 0;

  __device__ explicit Pipeline(const std::byte* shared) {
    const std::uint32_t base = ptx::shared_address(shared);
    constexpr std::uint32_t kAlignment = WgmmaConfig::kAlignment;
    activations = (base + kAlignment - 1) / kAlignment * kAlignment;
    staging = activations + kStages * kConfig.activation_bytes();
    weights = staging + kConfig.shape.staging_bytes();
    columns = weights + kStages * kConfig.weight_bytes();
    full = columns + WgmmaShape::kColumnBytes;
    empty = full + kStages * sizeof(std::uint64_t);
  }
  __device__ void init() const {
    for (int s = 0; s < kStages; ++s) {
      // The copy engine's announcer, and the copies of every gathering thread.
      ptx::barrier_init(full + 8 * s, kConfig.gathers() ? 128 + 1 : 1);
      ptx::barrier_init(empty + 8 * s, 4 * kConfig.consumers());  // every consumer warp
    }
    ptx::fence_barrier_init();
  }
  __device__ std::uint32_t activation_tile() const {
    return activations + stage * kConfig.activation_bytes();
  }
  __device__ std::uint32_t weight_tile() const { return weights + stage * kConfig.weight_bytes(); }
  __device__ std::uint32_t full_barrier() const { return full + 8 * stage; }
  __device__ std::uint32_t empty_barrier() const { return empty + 8 * stage; }
  __device__ void wait_full() const { ptx::barrier_wait(full_barrier(), phase); }
  __device__ void wait_empty() const { ptx::barrier_wait(empty_barrier(), phase ^ 1); }
  __device__ void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

/// The row tiles that a thread block will work on, read two tiles ahead.
template <WgmmaConfig kConfig>
struct TileWalk {
  const ProductArguments& p;
  std::int32_t stride, tile, tiles;
  TilePlace place;
  RowTile rows, next_rows, later_rows;

  __device__ explicit TileWalk(const ProductArguments& arguments)
      : p(arguments),
        stride(gridDim.x),
        tile(blockIdx.x),
        tiles(arguments.row_tile_count * arguments.token_tile_count),
        place(place_of(tile)),
        rows(read(tile)),
        next_rows(read(tile + stride)),
        later_rows(read(tile + 2 * stride)) {}
  __device__ bool valid() const { return tile < tiles; }
  __device__ bool has_next() const { return tile + stride < tiles; }
  __device__ void advance() {
    tile += stride;
    place = place_of(tile);
    rows = next_rows;
    next_rows = later_rows;
    later_rows = read(tile + 2 * stride);
  }
  __device__ int first_token() const { return place.token_tile * kConfig.tile_tokens(); }

 private:
  __device__ TilePlace place_of(std::int32_t t) const {
    return tile_place(t, p.row_tile_count, p.token_tile_count, p.token_group);
  }
  __device__ RowTile read(std::int32_t t) const {
    if (t >= tiles) return {};
    if constexpr (kConfig.expands()) {  // needs no vector: any blocks side by side
      constexpr int kBlocks = kConfig.shape.blocks();
      const std::int32_t block = place_of(t).row_tile * kBlocks;
      return {block, min(kBlocks, p.block_count - block)};
    }
    const int4 raw = __ldg(reinterpret_cast<const int4*>(p.row_tiles + place_of(t).row_tile));
    return {raw.x, raw.y, raw.z, raw.w};
  }
};

}  // namespace coppice::cuda
