// The copying side of the window kernels: windows of the chunks of all tiles of a thread block come
// to the ring of stages, some of them ahead.
#pragma once

#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/tensor_copy.h"
#include "cuda/window/window.h"

namespace coppice::cuda {

/// Barriers and stages in shared memory.
struct WindowRing {
  std::uint32_t barriers, stages, stage_bytes;

  __device__ WindowRing(const WindowArguments& p, const void* shared, int row_bytes)
      : barriers(ptx::shared_address(shared)),
        stages((barriers + kWindowHead + 1023) / 1024 * 1024),
        stage_bytes(static_cast<std::uint32_t>(p.stage.rows * row_bytes)) {}
  /// A stage has been filled; has been read by all warps.
  __device__ std::uint32_t full(int slot) const { return barriers + 16u * slot; }
  __device__ std::uint32_t free(int slot) const { return barriers + 16u * slot + 8; }
  __device__ std::uint32_t stage(int slot) const { return stages + slot * stage_bytes; }
  /// Which window comes next, of a warp.
  __device__ std::uint32_t next(int warp) const { return barriers + kWindowBarriers + 16u * warp; }
  __device__ void init(const WindowArguments& p) const {
    for (int i = 0; i < p.stage.stages; ++i) {
      ptx::barrier_init(full(i), p.boxes ? 1 : blockDim.x);
      ptx::barrier_init(free(i), blockDim.x / 32);
    }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    ptx::fence_barrier_init();
#endif
  }
};

/// By all threads of the block, or by the first, which asks for boxes. What comes next lies in
/// shared memory: registers are short.
template <int kTokens>
class WindowFill {
 public:
  __device__ WindowFill(const WindowArguments& p, const CUtensorMap& map, const WindowRing& ring)
      : p_(p), map_(&map), ring_(ring) {}

  __device__ void start(int warp, int lane) const {
    if (lane == 0) ptx::store_shared(ring_.next(warp), make_uint4(blockIdx.x, 0, 0, 0));
    __syncwarp();
  }

  /// The window of the next chunk, if there is one, to its stage, when that is free.
  __device__ void fill(int warp, int lane) const {
    if (!p_.boxes || threadIdx.x == 0) fill_next(warp, lane);
    __syncwarp();
  }

 private:
  static constexpr int kOfRow = kTokens / 8;  // copies of 16 bytes

  __device__ void fill_next(int warp, int lane) const {
    uint4 next = ptx::load_shared_16(ring_.next(warp));  // tile, chunk, slot, parity
    const auto tile = static_cast<int>(next.x), slot = static_cast<int>(next.z);
    if (tile >= p_.row_tiles * p_.token_tiles) return;
    const TilePlace place = tile_place(tile, p_.row_tiles, p_.token_tiles, p_.token_group);
    const ChunkColumns columns = p_.weight.chunks[next.y];
    ptx::barrier_wait(ring_.free(slot), next.w ^ 1);
    if (p_.boxes)
      ask_for_boxes(slot, columns.first, place.token_tile * kTokens);
    else
      copy_rows(slot, columns, place.token_tile * kTokens);
    advance(next);
    if (!p_.boxes) __syncwarp();  // all have read what came next
    if (lane == 0) ptx::store_shared(ring_.next(warp), next);
  }

  __device__ void advance(uint4& next) const {
    if (++next.z == static_cast<unsigned>(p_.stage.stages)) {
      next.z = 0;
      next.w ^= 1;
    }
    if (++next.y < static_cast<unsigned>(p_.weight.chunk_count)) return;
    next.y = 0;
    next.x += gridDim.x;
  }

  __device__ void ask_for_boxes(int slot, int first_column, int first_token) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    const std::uint32_t full = ring_.full(slot);
    ptx::barrier_arrive_expect(full, ring_.stage_bytes);
    std::uint32_t to = ring_.stage(slot);
#pragma unroll 1
    for (int row = 0; row < p_.stage.rows; row += p_.stage.box_rows) {
      ptx::load_box(to, map_, first_token, first_column + row, full);
      to += static_cast<std::uint32_t>(p_.stage.box_rows * 2 * kTokens);
    }
#endif
  }

  __device__ void copy_rows(int slot, const ChunkColumns& columns, int first_token) const {
    const int chunk = static_cast<int>(threadIdx.x) % kOfRow;
    const int token = first_token + 8 * chunk;
    const int left = 2 * (p_.tokens - token);
    const auto valid = static_cast<std::uint32_t>(left <= 0 ? 0 : left < 16 ? left : 16);
    const auto* x = static_cast<const std::uint16_t*>(p_.x) + (valid > 0 ? token : 0);
    const int rows = columns.last - columns.first, cols = p_.weight.layout.cols;
    const bool folds = p_.weight.layout.run >= kTogether;
    const std::uint32_t stage = ring_.stage(slot);
#pragma unroll 4
    for (int row = static_cast<int>(threadIdx.x) / kOfRow; row < rows;
         row += static_cast<int>(blockDim.x) / kOfRow) {
      int column = columns.first + row;
      const bool exists = column < cols;  // a run of a narrow last block may reach behind the end
      if (!exists) column = 0;
      if (p_.weight.sources != nullptr) column = __ldg(p_.weight.sources + column);
      const auto at = window_row<kTokens>(static_cast<std::uint32_t>(row), folds);
      ptx::copy_async_16(stage + (at ^ static_cast<std::uint32_t>(chunk * 16)),
                         x + column * p_.x_column, exists ? valid : 0);
    }
    ptx::barrier_arrive_on_copies(ring_.full(slot));
  }

  const WindowArguments& p_;
  const CUtensorMap* map_;
  const WindowRing& ring_;
};

}  // namespace coppice::cuda
