// The producers of a wgmma kernel that expands its weight: a warp each for activations, records and
// columns alive. The copy engine brings the first two; with one warp for all of it, up to ten
// copies a step, the consumers waited for its orders. The last one looks up every window's codes,
// once for all its rows (H200, docs/performance/vnm.md).
#pragma once

#include "cuda/kernels/expand_pipeline.h"
#include "cuda/kernels/wgmma_slices.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/tensor_copy.h"

namespace coppice::cuda {

/// The part of a step of activations: all tokens of the tile, 64 a box.
template <WgmmaConfig kConfig>
requires(!kConfig.expands_in_order()) __device__
    inline void copy_part(const ProductArguments& p, const WgmmaMaps& maps,
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
  if (lane == 0) ptx::prefetch_tensor_map(&maps.x);
  pipe.template begin<true>(p);
  ExpandWalk<kConfig> walk(p);
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

/// Makes the barriers. Does not wait for the kernels before, which never write weights
/// (docs/performance/decode.md).
template <WgmmaConfig kConfig>
__device__ inline void produce_records(const ProductArguments& p, Pipeline<kConfig> pipe,
                                       int lane) {
  if (lane == 0) {
    pipe.init();
    pipe.copy_tables(p.columns.group);
  }
  __syncwarp();
  pipe.template begin<false>(p);
  ExpandWalk<kConfig> walk(p);
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
        ptx::barrier_arrive_expect(full, blocks * kRecordBytes);
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

/// The columns alive of some windows of a step, a byte each: what a lane looks up.
template <WgmmaConfig kConfig>
struct LaneMasks {
  static constexpr int kLanes = 32 / (kConfig.shape.blocks() * kBlockUnits);  // of a unit
  static constexpr int kCount = kStepQuads / kLanes;
  static constexpr int kAhead = 4;        // steps
  static constexpr int kWindowBytes = 1;  // of a list
  static_assert(kCount == 2 || kCount == 4);
  std::uint32_t bytes;

  __device__ static LaneMasks load(const std::byte* list, int step) {
    if (list == nullptr) return {0};  // nothing is multiplied there
    const std::byte* from = list + step * kStepQuads;
    if constexpr (kCount == 2)
      return {__ldg(reinterpret_cast<const std::uint16_t*>(from))};
    else
      return {__ldg(reinterpret_cast<const std::uint32_t*>(from))};
  }
  /// Byte of a lane's first window among the codes of a step, and in a list.
  __device__ static std::uint32_t first_code(int lane) { return lane * kCount * 4; }
  __device__ static int first_byte(int lane) { return lane % kLanes * kCount; }
  __device__ void look_up(const Pipeline<kConfig>& pipe, std::uint32_t to) const {
    std::uint32_t codes[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      codes[i] = ptx::load_table(pipe.codes | (bytes >> 8 * i & 0xFF) << 2);
    if constexpr (kCount == 2)
      ptx::store_shared(to, make_uint2(codes[0], codes[1]));
    else
      ptx::store_shared(to, make_uint4(codes[0], codes[1], codes[2], codes[3]));
  }
};

/// Into the stages of the records, whose barrier counts an arrival of this warp as well. Masks are
/// read some steps ahead.
template <WgmmaConfig kConfig>
__device__ inline void produce_codes(const ProductArguments& p, Pipeline<kConfig> pipe, int lane) {
  using Masks = LaneMasks<kConfig>;
  constexpr int kAhead = Masks::kAhead;
  ExpandWalk<kConfig> walk(p);
  const StepSlice slice = StepSlice::of<kConfig>(p);
  const int unit = lane / Masks::kLanes;
  const std::uint32_t to = pipe.window_codes() - pipe.weights + Masks::first_code(lane);
  const auto list_of = [&](std::int32_t block) -> const std::byte* {
    const int number = block * kBlockUnits + unit;
    if (number >= p.block_count * kBlockUnits) return nullptr;
    const std::int64_t vector = __ldg(&p.units[number].vector);
    constexpr int kListStepBytes = kStepQuads * Masks::kWindowBytes;
    return p.columns.data + (vector * p.steps + slice.begin) * kListStepBytes +
           Masks::first_byte(lane);
  };
  const std::byte* list = list_of(walk.now.rows.block);
  Masks masks[kAhead];
  const auto read_first = [&] {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) masks[i] = Masks::load(list, min(i, slice.count - 1));
  };
  if (walk.valid()) read_first();
  pipe.template begin<true>(p);
  pipe.wait_tables();
  while (walk.valid()) {
    const std::byte* next = list_of(walk.next.rows.block);  // read a tile ahead
#pragma unroll 1
    for (int step = 0; step < slice.count; step += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (step + i >= slice.count) break;
        pipe.w.wait_empty();
        masks[i].look_up(pipe, pipe.weights + pipe.w.stage * Pipeline<kConfig>::kWeightBytes + to);
        __syncwarp();
        if (lane == 0) ptx::barrier_arrive(pipe.w.full_barrier());
        pipe.w.advance();
        masks[i] = Masks::load(list, min(step + i + kAhead, slice.count - 1));
      }
    }
    list = next;
    walk.advance();
    if (walk.valid()) read_first();
  }
  pipe.w.wait_empty();
  if (lane == 0) ptx::barrier_arrive(pipe.w.full_barrier());
}

/// By the whole warpgroup.
template <WgmmaConfig kConfig>
__device__ inline void produce_expanded(const ProductArguments& p, const WgmmaMaps& maps,
                                        const Pipeline<kConfig>& pipe, int thread) {
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0), lane = thread % 32;
  if (warp == 0) produce_parts<kConfig>(p, maps, pipe, lane);
  if (warp == 1) produce_records<kConfig>(p, pipe, lane);
  if (warp == 2) produce_codes<kConfig>(p, pipe, lane);
  if (warp == 3) pipe.template begin<true>(p);
  // Nobody may leave a barrier of the cluster half-way. Without a cluster it would be barrier 0 of
  // the block, which the warp that only arrives there may reach again before the others have come.
  if constexpr (kConfig.shape.col_groups > 1)
    if (p.slices > 1) {
      __syncwarp();
      ptx::cluster_wait();
    }
}

}  // namespace coppice::cuda
