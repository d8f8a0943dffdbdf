// The producers of a wgmma kernel that expands its weight: a warp each for activations, records and
// masks, everything by the copy engine. With one warp for all of it, up to ten copies a step, the
// consumers waited for its orders (H200, docs/performance/vnm.md).
#pragma once

#include "cuda/kernels/expand_pipeline.h"
#include "cuda/kernels/wgmma_slices.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/tensor_copy.h"

namespace coppice::cuda {

/// The lists of columns alive of a row tile's units, one a lane.
template <WgmmaConfig kConfig>
struct UnitLists {
  static constexpr int kUnits = kConfig.shape.blocks() * kBlockUnits;
  static_assert(kUnits <= 32);
  const std::byte* list;

  /// Of the tile whose first block is `block`; nothing behind the last.
  __device__ UnitLists(const ProductArguments& p, std::int32_t block, int lane) : list(nullptr) {
    const int unit = block * kBlockUnits + lane;
    if (lane >= kUnits || unit >= p.block_count * kBlockUnits) return;
    const std::int64_t vector = __ldg(&p.units[unit].vector);
    list = p.columns.data + vector * p.steps * kStepQuads;
  }
};

/// The part of a step of activations: all tokens of the tile, 64 a box.
template <WgmmaConfig kConfig>
__device__ inline void copy_part(const ProductArguments& p, const WgmmaMaps& maps,
                                 const Pipeline<kConfig>& pipe, int token, int step, int part) {
  constexpr int kPanelBytes = Pipeline<kConfig>::kSlots * 128;
  constexpr int kPanels = kConfig.tile_tokens() / 64;
  const std::uint32_t tile = pipe.activation_tile(), full = pipe.x.full_barrier();
  const int group = p.columns.group, first = step * kStepQuads * group;
  // As in OrderedCopies: nothing that lies behind the last token.
  const int panels = min(kPanels, (p.tokens - token + 63) / 64);
  ptx::barrier_arrive_expect(full, panels * kPanelBytes);
  if (first + kStepQuads * group <= p.cols) {
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel)
      if (panel < panels)
        ptx::load_box(tile + panel * kPanelBytes, &maps.x, token + 64 * panel, 0,
                      step * expand::kLanes, 0, 2 * part, full);
    return;
  }
  // The boxes' bounds cannot say where the last window ends: quad by quad.
  constexpr int kQuads = Pipeline<kConfig>::kParts.lane_quads();
  for (int quad = 0; quad < kQuads * expand::kLanes; ++quad) {
    const int n = part * kQuads + quad / expand::kLanes;
    const int col = first + expand::quad_column_of(group, n, quad % expand::kLanes);
#pragma unroll 1
    for (int panel = 0; panel < panels; ++panel)
      ptx::load_box(tile + panel * kPanelBytes + quad * 4 * 128, &maps.x_rest, token + 64 * panel,
                    col, full);
  }
}

template <WgmmaConfig kConfig>
__device__ inline void produce_parts(const ProductArguments& p, const WgmmaMaps& maps,
                                     Pipeline<kConfig> pipe, int lane) {
  TileWalk<kConfig> walk(p);
  const StepSlice slice = StepSlice::of<kConfig>(p);
  ptx::wait_for_kernels_before();
  if (lane != 0) return;
  for (; walk.valid(); walk.advance())
#pragma unroll 1
    for (int step = slice.begin; step < slice.begin + slice.count; ++step)
#pragma unroll
      for (int part = 0; part < Pipeline<kConfig>::kParts.count; ++part) {
        pipe.x.wait_empty();
        copy_part<kConfig>(p, maps, pipe, walk.now.token, step, part);
        pipe.x.advance();
      }
}

/// Does not wait for the kernels before, which never write weights (docs/performance/decode.md).
template <WgmmaConfig kConfig>
__device__ inline void produce_records(const ProductArguments& p, Pipeline<kConfig> pipe,
                                       int lane) {
  TileWalk<kConfig> walk(p);
  const StepSlice slice = StepSlice::of<kConfig>(p);
  const std::int64_t block_bytes = static_cast<std::int64_t>(p.steps) * kRecordBytes;
  for (; walk.valid(); walk.advance()) {
    const int blocks = walk.now.rows.blocks();
    const std::byte* record = p.records +
                              (walk.now.rows.block + min(lane, blocks - 1)) * block_bytes +
                              std::int64_t{slice.begin} * kRecordBytes;
#pragma unroll 1
    for (int step = 0; step < slice.count; ++step) {
      pipe.w.wait_empty();
      const std::uint32_t full = pipe.w.full_barrier();
      if (lane == 0) {
        if (step == 0) pipe.announce(walk.info());
        ptx::barrier_arrive_expect(full, blocks * (kRecordBytes + expand::kBlockMaskBytes));
      }
      __syncwarp();
      if (lane < blocks)
        ptx::copy_bulk(pipe.weight_tile() + lane * kRecordBytes, record, kRecordBytes, full);
      record += kRecordBytes;
      pipe.w.advance();
    }
  }
  pipe.w.wait_empty();
  if (lane != 0) return;
  pipe.announce({});
  ptx::barrier_arrive(pipe.w.full_barrier());
}

/// Into the stages of the records, whose barrier counts these bytes as well.
template <WgmmaConfig kConfig>
__device__ inline void produce_masks(const ProductArguments& p, Pipeline<kConfig> pipe, int lane) {
  TileWalk<kConfig> walk(p);
  const StepSlice slice = StepSlice::of<kConfig>(p);
  UnitLists<kConfig> lists(p, walk.now.rows.block, lane);
  for (; walk.valid(); walk.advance()) {
    const UnitLists<kConfig> next(p, walk.next.rows.block, lane);  // read a tile ahead
    const int units = walk.now.rows.blocks() * kBlockUnits;
#pragma unroll 1
    for (int step = slice.begin; step < slice.begin + slice.count; ++step) {
      pipe.w.wait_empty();
      if (lane < units)
        ptx::copy_bulk(pipe.masks() + lane * kStepQuads, lists.list + step * kStepQuads, kStepQuads,
                       pipe.w.full_barrier());
      pipe.w.advance();
    }
    lists = next;
  }
}

/// By the whole warpgroup.
template <WgmmaConfig kConfig>
__device__ inline void produce_expanded(const ProductArguments& p, const WgmmaMaps& maps,
                                        const Pipeline<kConfig>& pipe, int thread) {
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0), lane = thread % 32;
  if (warp == 0) produce_parts<kConfig>(p, maps, pipe, lane);
  if (warp == 1) produce_records<kConfig>(p, pipe, lane);
  if (warp == 2) produce_masks<kConfig>(p, pipe, lane);
}

}  // namespace coppice::cuda
