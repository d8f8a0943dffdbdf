// The stages between producers and consumers of a wgmma kernel, and the order of its tiles.
#pragma once

#include <type_traits>

#include "cuda/kernels/wgmma_config.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda {

/// What consumers have to know of a tile: its rows [row, row + rows) and its first token; no rows:
/// that was the last one. They read nothing from global memory themselves, and count nothing, since
/// a counter is spilled to it: loads and their proxy fences would wait thousands of clocks, behind
/// all copies under way.
struct TileInfo {
  std::int32_t row, rows, token;
};
__device__ inline void store_tile(std::uint32_t shared, const TileInfo& tile) {
  ptx::store_shared(shared, make_uint4(tile.row, tile.rows, tile.token, 0));
}
__device__ inline TileInfo load_tile(std::uint32_t shared) {
  const uint4 raw = ptx::load_shared_16(shared);
  return {static_cast<std::int32_t>(raw.x), static_cast<std::int32_t>(raw.y),
          static_cast<std::int32_t>(raw.z)};
}

/// Shared memory: activation tiles, weight records, outputs on their way, columns, barriers.
template <WgmmaConfig kConfig>
struct Pipeline {
  static constexpr int kStages = kConfig.shape.stages;
  static constexpr std::uint32_t kStageBytes = kConfig.activation_bytes();
  std::uint32_t activations, weights, staging, columns, full, empty, sums, infos;
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
    sums = empty + kStages * sizeof(std::uint64_t);
    infos = sums + 16;
  }
  /// @param copies all producer threads make copies of their own.
  __device__ void init(bool copies = kConfig.gathers()) const {
    for (int s = 0; s < kStages; ++s) {
      // The copy engine's announcer, and the copies of every gathering thread.
      ptx::barrier_init(full + 8 * s, copies ? 128 + 1 : 1);
      ptx::barrier_init(empty + 8 * s, 4 * kConfig.consumers());  // every consumer warp
    }
    ptx::barrier_init(sums, 1);  // of all slices of a tile: see wgmma_slices.h
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
  /// Written with a tile's first stage, before the arrival that completes it.
  __device__ void announce(const TileInfo& tile) const { store_tile(infos + 16 * stage, tile); }
  __device__ TileInfo wait_announced() const {
    wait_full();
    return load_tile(infos + 16 * stage);
  }
  __device__ void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

/// A row tile that lane i of a warp holds word i % 4 of. If all lanes hold all of it, the compiler
/// keeps it in uniform registers and waits for its load at once, every tile a whole latency behind
/// all copies under way.
struct SharedRowTile {
  std::int32_t word = 0;

  __device__ static SharedRowTile load(const RowTile* from) {
    return {__ldg(reinterpret_cast<const std::int32_t*>(from) + threadIdx.x % 4)};
  }
  __device__ RowTile tile() const {
    std::uint32_t words[4];
#pragma unroll
    for (unsigned i = 0; i < 4; ++i)  // by a reduction, whose result is the same for all lanes
      words[i] = __reduce_or_sync(0xffffffffu,
                                  threadIdx.x % 4 == i ? static_cast<std::uint32_t>(word) : 0);
    return {static_cast<std::int32_t>(words[0]), static_cast<std::int32_t>(words[1]),
            static_cast<std::int32_t>(words[2]), static_cast<std::int32_t>(words[3])};
  }
};

/// One that a thread holds by itself.
struct OwnRowTile : RowTile {
  __device__ static OwnRowTile load(const RowTile* from) {
    const int4 raw = __ldg(reinterpret_cast<const int4*>(from));
    return {{raw.x, raw.y, raw.z, raw.w}};
  }
  __device__ const RowTile& tile() const { return *this; }
};

/// A producer's way through the tiles of a thread block, or of a cluster that shares them: the one
/// of its number and every so many behind it. Row tiles are read two tiles ahead. `kWarps`: by
/// whole warps.
template <WgmmaConfig kConfig, bool kWarps = false>
class TileWalk {
 public:
  static constexpr bool kShares = kWarps && !kConfig.expands() && !kConfig.dense();
  struct Tile {
    std::conditional_t<kShares, SharedRowTile, OwnRowTile> rows;
    std::int32_t token = 0;  // the first
  };
  Tile now, next;

  __device__ explicit TileWalk(const ProductArguments& p)
      : p_(p),
        tile_(static_cast<std::int32_t>(blockIdx.x) / slices()),
        stride_(static_cast<std::int32_t>(gridDim.x) / slices()),
        tiles_(p.row_tile_count * p.token_tile_count) {
    now = read(0);
    next = read(1);
    later_ = read(2);
  }
  __device__ bool valid() const { return tile_ < tiles_; }
  __device__ bool has_next() const { return index(1) < tiles_; }
  __device__ void advance() {
    tile_ = index(1);
    now = next;
    next = later_;
    later_ = read(2);
  }
  __device__ TileInfo info() const { return {now.rows.row, now.rows.rows, now.token}; }

 private:
  __device__ std::int32_t index(int ahead) const { return tile_ + ahead * stride_; }
  __device__ std::int32_t slices() const { return kConfig.shape.slices > 1 ? p_.slices : 1; }
  __device__ Tile read(int ahead) const {
    if (index(ahead) >= tiles_) return {};
    const TilePlace place =
        tile_place(index(ahead), p_.row_tile_count, p_.token_tile_count, p_.token_group);
    const std::int32_t token = place.token_tile * kConfig.tile_tokens();
    if constexpr (kConfig.expands()) {  // needs no vector: any blocks side by side
      const std::int32_t block = place.row_tile * kConfig.shape.blocks();
      const std::int32_t blocks = min(kConfig.shape.blocks(), p_.block_count - block);
      return {{{block, block * kBlockRows, blocks * kBlockRows, 0}}, token};
    }
    if constexpr (kConfig.dense())
      return {{vector_tile(place.row_tile, kConfig.shape.rows(), p_.lists.vector_tiles,
                           p_.lists.vec_rows, p_.rows)},
              token};
    return {decltype(Tile::rows)::load(p_.row_tiles + place.row_tile), token};
  }

  const ProductArguments& p_;
  std::int32_t tile_, stride_, tiles_;
  Tile later_;
};

}  // namespace coppice::cuda
