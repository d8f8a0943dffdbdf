// The producer of a wgmma kernel that expands its weight: one warp, everything by the copy engine.
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
__device__ inline void produce_expanded(const ProductArguments& p, const WgmmaMaps& maps,
                                        Pipeline<kConfig> pipe, int lane) {
  using Pipe = Pipeline<kConfig>;
  TileWalk<kConfig> walk(p);
  const StepSlice slice = StepSlice::of<kConfig>(p);
  UnitLists<kConfig> lists(p, walk.now.rows.block, lane);
  ptx::wait_for_kernels_before();
  for (; walk.valid(); walk.advance()) {
    const UnitLists<kConfig> next(p, walk.next.rows.block, lane);  // read a tile ahead
    const std::int64_t block_bytes = static_cast<std::int64_t>(p.steps) * kRecordBytes;
    const std::byte* records =
        p.records + walk.now.rows.block * block_bytes + std::int64_t{slice.begin} * kRecordBytes;
    const int blocks = walk.now.rows.blocks(), token = walk.now.token;
#pragma unroll 1
    for (int step = slice.begin; step < slice.begin + slice.count; ++step) {
      pipe.w.wait_empty();
      const std::uint32_t full = pipe.w.full_barrier();
      if (lane == 0) {
        if (step == slice.begin) pipe.announce(walk.info());
        ptx::barrier_arrive_expect(full, blocks * (kRecordBytes + expand::kBlockMaskBytes));
      }
      __syncwarp();
      if (lane < blocks)
        ptx::copy_bulk(pipe.weight_tile() + lane * kRecordBytes, records + lane * block_bytes,
                       kRecordBytes, full);
      if (lane < blocks * kBlockUnits)
        ptx::copy_bulk(pipe.masks() + lane * kStepQuads, lists.list + step * kStepQuads, kStepQuads,
                       full);
      records += kRecordBytes;
      pipe.w.advance();
#pragma unroll
      for (int part = 0; part < Pipe::kParts.count; ++part) {
        pipe.x.wait_empty();
        if (lane == 0) copy_part<kConfig>(p, maps, pipe, token, step, part);
        __syncwarp();
        pipe.x.advance();
      }
    }
    lists = next;
  }
  pipe.w.wait_empty();
  if (lane != 0) return;
  pipe.announce({});
  ptx::barrier_arrive(pipe.w.full_barrier());
}

}  // namespace coppice::cuda
