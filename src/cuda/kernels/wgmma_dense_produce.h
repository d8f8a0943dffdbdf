// What the producer does differently for a dense weight with lists (element/element_layout.h): the
// weight comes as boxes of pieces, columns are looked up in lists of runs, and activations come
// either row by row, as for the other gathers (wgmma_produce.h), or, where 32 columns follow each
// other, run by run as boxes of the copy engine, of feature-major or token-major activations.
#pragma once

#include "cuda/kernels/wgmma_produce.h"

namespace coppice::cuda {

/// The columns of the lists, in shared memory WgmmaShape::kColumns at a time, eight a thread; the
/// next ones wait in registers.
template <WgmmaConfig kConfig>
struct RunFeed {
  std::uint32_t shared;
  int thread;
  uint4 ahead = {};  // as loaded; of a permuted weight the columns

  __device__ void fetch(const ProductArguments& p, std::int32_t vector, int step) {
    const RunLists& l = p.lists;
    // Behind the end the last columns again: there are no values.
    const int slot = min(step * kConfig.step_cols() + thread * 8, l.words * l.run - 8);
    const std::uint16_t* at = l.runs + static_cast<std::int64_t>(vector) * l.words;
    at += slot / l.run;
    if (l.run == 1) {
      ahead = __ldg(reinterpret_cast<const uint4*>(at));
    } else if (l.run == 2) {
      const uint2 raw = __ldg(reinterpret_cast<const uint2*>(at));
      ahead.x = raw.x, ahead.y = raw.y;
    } else if (l.run == 4) {
      ahead.x = __ldg(reinterpret_cast<const std::uint32_t*>(at));
    } else {
      ahead.x = __ldg(at);
      ahead.y = slot % l.run;
    }
    // Waits for one load and then for another: permuted weights are a little slower.
    if (l.sources != nullptr) ahead = permuted(p, columns(p));
  }
  __device__ void publish(const ProductArguments& p) const {
    const uint4 now = p.lists.sources == nullptr ? columns(p) : ahead;
    ptx::group_barrier<1, 128>();  // nobody reads the former ones any more
    ptx::store_shared(shared + thread * 16, now);
    ptx::group_barrier<1, 128>();
  }

 private:
  static __device__ std::uint32_t twice(std::uint32_t column) { return column * 0x10001u; }

  /// Eight columns, 16 bits each; a run of a narrow block does not reach over the weight's end.
  __device__ uint4 columns(const ProductArguments& p) const {
    const int run = p.lists.run;
    if (run == 1) return ahead;
    const std::uint32_t last = twice(static_cast<std::uint32_t>(p.cols - 1));
    const std::uint32_t low = ahead.x & 0xFFFF, high = ahead.x >> 16;
    std::uint32_t pairs[4];
    if (run == 2) {
      pairs[0] = twice(low), pairs[1] = twice(high);
      pairs[2] = twice(ahead.y & 0xFFFF), pairs[3] = twice(ahead.y >> 16);
    } else if (run == 4) {
      pairs[0] = twice(low), pairs[1] = pairs[0] + 0x20002u;
      pairs[2] = twice(high), pairs[3] = pairs[2] + 0x20002u;
    } else {
      pairs[0] = twice(ahead.x + ahead.y);
#pragma unroll
      for (int i = 1; i < 4; ++i) pairs[i] = pairs[0] + static_cast<std::uint32_t>(i) * 0x20002u;
    }
#pragma unroll
    for (std::uint32_t& pair : pairs) pair = __vminu2(pair + 0x10000u, last);
    return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  }

  static __device__ uint4 permuted(const ProductArguments& p, uint4 of) {
    const auto source = [&](std::uint32_t pair) {
      const int low = __ldg(p.lists.sources + (pair & 0xFFFF));
      return static_cast<std::uint32_t>(low | __ldg(p.lists.sources + (pair >> 16)) << 16);
    };
    return make_uint4(source(of.x), source(of.y), source(of.z), source(of.w));
  }
};

/// The weight's part of a tile.
template <WgmmaConfig kConfig>
struct PieceBoxes {
  static constexpr int kPieces = kConfig.step_cols() / kRunCols;
  const CUtensorMap* map;
  int piece, half_unit;  // the tile's first
  int blocks;
  std::uint32_t bytes;  // of a step

  __device__ PieceBoxes(const ProductArguments&, const WgmmaMaps& maps, const RowTile& rows,
                        int step)
      : map(&maps.w),
        piece(step * kPieces),
        half_unit(rows.row / 8),
        blocks(rows.blocks()),
        bytes(rows.blocks() * kConfig.shape.block_bytes()) {}
  __device__ void copy(const Pipeline<kConfig>& pipe, int block) const {
    ptx::load_box(pipe.weight_tile() + block * kConfig.shape.block_bytes(), map, 0, piece,
                  half_unit + 8 * block, pipe.full_barrier());
  }
  __device__ void advance() { piece += kPieces; }
};

template <WgmmaConfig kConfig>
requires(kConfig.dense()) struct Gathering<kConfig> {
  using Feed = RunFeed<kConfig>;
  using Rows = Gather<kConfig>;
  using Weight = PieceBoxes<kConfig>;
};

/// The runs of a tile, 32 at a time in the lanes of a warp, the next ones ahead.
template <WgmmaConfig kConfig>
struct RunQueue {
  static constexpr int kPerStep = kConfig.step_cols() / kRunCols;
  static constexpr int kSteps = 32 / kPerStep;  // whose runs are here
  int lane;
  int now = 0, ahead = 0;

  __device__ void fetch(const ProductArguments& p, const RowTile& rows, int step) {
    const RunLists& l = p.lists;
    ahead = __ldg(l.runs + static_cast<std::int64_t>(rows.vector) * l.words +
                  min(step * kPerStep + lane, l.words - 1));
  }
  __device__ int column(int step, int number) const {
    return __shfl_sync(0xffffffffu, now, step % kSteps * kPerStep + number);
  }
};

/// Asks for run number `number` of a step: boxes of run_map.
template <WgmmaConfig kConfig>
__device__ inline void copy_run(const ProductArguments& p, const WgmmaMaps& maps,
                                const Pipeline<kConfig>& pipe, int column, int token, int number) {
  constexpr int kTokens = kConfig.tile_tokens(), kTokenBytes = kRunCols * 2;
  const std::uint32_t to = pipe.activation_tile() + number * kTokens * kTokenBytes;
  const std::uint32_t full = pipe.full_barrier();
  if constexpr (kConfig.source == Source::runs) {
#pragma unroll
    for (int t = 0; t < kTokens; t += kRunBoxTokens)
      ptx::load_box(to + t * kTokenBytes, &maps.x, column, token + t, full);
  } else if (p.x_tokens % 64 == 0) {
    ptx::load_box(to, &maps.x, 0, column, token / 64, full);
  } else {
#pragma unroll
    for (int t = 0; t < kTokens; t += 64)
      ptx::load_box(to + t * kTokenBytes, &maps.x, token + t, column, full);
  }
}

/// Everything by the copy engine; one warp, of which one thread gives the orders.
template <WgmmaConfig kConfig>
__device__ inline void produce_runs(const ProductArguments& p, const WgmmaMaps& maps,
                                    Pipeline<kConfig> pipe, int lane) {
  TileWalk<kConfig> walk(p);
  const StepSlice slice = StepSlice::of<kConfig>(p);
  RunQueue<kConfig> runs{lane};
  constexpr int kQueued = RunQueue<kConfig>::kSteps;
  ptx::wait_for_kernels_before();
  if (walk.valid()) runs.fetch(p, walk.now.rows, slice.begin);
  for (; walk.valid(); walk.advance()) {
    PieceBoxes<kConfig> weight(p, maps, walk.now.rows, slice.begin);
#pragma unroll 1
    for (int step = 0; step < slice.count; ++step) {
      if (step % kQueued == 0) {
        runs.now = runs.ahead;
        if (step + kQueued < slice.count)
          runs.fetch(p, walk.now.rows, slice.begin + step + kQueued);
        else if (walk.has_next())
          runs.fetch(p, walk.next.rows, slice.begin);
      }
      pipe.wait_empty();
      if (lane == 0) {
        if (step == 0) pipe.announce(walk.info());
        ptx::barrier_arrive_expect(pipe.full_barrier(), weight.bytes + kConfig.activation_bytes());
#pragma unroll
        for (int block = 0; block < kConfig.shape.blocks(); ++block)
          if (block < weight.blocks) weight.copy(pipe, block);
      }
#pragma unroll
      for (int i = 0; i < RunQueue<kConfig>::kPerStep; ++i) {
        const int column = runs.column(step, i);
        if (lane == 0) copy_run<kConfig>(p, maps, pipe, column, walk.now.token, i);
      }
      weight.advance();
      pipe.advance();
    }
  }
  pipe.wait_empty();
  if (lane == 0) {
    pipe.announce({});
    ptx::barrier_arrive(pipe.full_barrier());
  }
}

}  // namespace coppice::cuda
