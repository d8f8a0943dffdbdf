// The producer warpgroup of a wgmma kernel: fills stages, as far ahead as there are free ones.
#pragma once

#include "cuda/kernels/spread_layout.h"
#include "cuda/kernels/wgmma_columns.h"
#include "cuda/kernels/wgmma_residual.h"
#include "cuda/kernels/wgmma_slices.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/tensor_copy.h"

namespace coppice::cuda {

/// One thread's part of the gather of a step: 16 bytes, chunk `chunk`, of each of `kRows` rows.
template <WgmmaConfig kConfig>
struct Gather {
  static constexpr int kChunks = kConfig.tile_tokens() / 8;   // of 16 bytes, in a row
  static constexpr int kSlots = 128 / kChunks;                // rows side by side
  static constexpr int kRows = kConfig.step_cols() / kSlots;  // rows of a thread
  static_assert(kSlots * kChunks == 128 && kRows % 4 == 0);

  const std::byte* x;  // at this thread's tokens
  std::uint32_t row_bytes;
  std::uint32_t valid;   // bytes of its chunks that exist
  std::uint32_t target;  // in a stage's tile
  int slot;
  bool whole;             // all tokens of the tile exist
  uint2 four[kRows / 4];  // columns of a step, 16 bits each

  __device__ Gather(const ProductArguments& p, int thread) {
    const int chunk = thread % kChunks;
    slot = thread / kChunks;
    constexpr int kPanel = kConfig.panel_cols();
    static_assert(kPanel % kRows == 0);
    const int swizzled = chunk % 8 ^ slot * kRows % 8, first = slot * kRows;
    target = first / kPanel * (kConfig.tile_tokens() * kPanel * 2) + chunk / 8 * (kPanel * 128) +
             first % kPanel * 128 + swizzled * 16;
    row_bytes = static_cast<std::uint32_t>(p.x_stride * 2);
  }
  __device__ void begin_tile(const ProductArguments& p, int first_token, int thread) {
    const int token = first_token + thread % kChunks * 8;
    const int left = (p.tokens - token) * 2;
    valid = left <= 0 ? 0 : left < 16 ? left : 16;
    x = ptx::opaque(static_cast<const std::byte*>(p.x) + (valid ? 2 * token : 0));
    whole = first_token + kConfig.tile_tokens() <= p.tokens;
  }
  /// Reads the columns of a step from shared memory.
  __device__ void read_columns(std::uint32_t columns) {
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i)
      four[i] = ptx::load_shared_8(columns + (slot * kRows + 4 * i) * 2);
  }
  __device__ void copy(std::uint32_t tile) const {
    if (whole)
      copy_rows<true>(tile + target);
    else
      copy_rows<false>(tile + target);
  }

 private:
  template <bool kWhole>
  __device__ void copy_rows(std::uint32_t place) const {
    std::uint32_t places[8];  // of the rows of a swizzled atom
#pragma unroll
    for (int j = 0; j < 8; ++j) places[j] = place ^ (j * 16);
#pragma unroll
    for (int j = 0; j < kRows; ++j) {
      const std::uint32_t pair = j % 4 < 2 ? four[j / 4].x : four[j / 4].y;
      const std::uint32_t column = j % 2 ? pair >> 16 : pair & 0xFFFF;
      const std::byte* from = x + static_cast<std::uint64_t>(column) * row_bytes;
      const std::uint32_t to = places[j % 8] + j * 128;
      if constexpr (kWhole)
        ptx::copy_async_16(to, from);
      else
        ptx::copy_async_16(to, from, valid);
    }
  }
};

/// The lists of columns, in shared memory 16 steps at a time, two quads a thread. The next ones
/// wait in registers, read so early that their latency (thousands of clocks, behind all copies
/// under way) does not show.
struct ColumnFeed {
  std::uint32_t shared;
  int thread;
  int quad = 0;
  uint4 ahead = {};

  __device__ void fetch(const ProductArguments& p, std::int32_t vector, int step) {
    quad = step * kStepQuads + thread * 2;
    auto here = static_cast<std::uint32_t>(vector);
    ptx::compute_here(here);  // else addresses are kept, one for every size of a quad
    if (quad < p.steps * kStepQuads)
      ahead = load_quads(p, column_list(p, static_cast<std::int32_t>(here)), quad);
  }
  __device__ void publish(const ProductArguments& p) const {
    const uint4 columns = columns_of_quads(p, ahead, quad);
    ptx::group_barrier<1, 128>();  // nobody reads the former ones any more
    ptx::store_shared(shared + thread * 16, columns);
    ptx::group_barrier<1, 128>();
  }
};

/// The weight's part of a tile.
template <WgmmaConfig kConfig>
struct RecordCopies {
  const std::byte* first;  // record of the tile's first block
  std::int64_t block_bytes;
  int blocks;
  std::uint32_t bytes;  // of a step

  __device__ RecordCopies(const ProductArguments& p, const WgmmaMaps&, const RowTile& rows,
                          int step)
      : block_bytes(static_cast<std::int64_t>(p.steps) * kRecordBytes),
        blocks(rows.blocks()),
        bytes(rows.blocks() * kRecordBytes) {
    first = p.records + rows.block * block_bytes + std::int64_t{step} * kRecordBytes;
  }
  __device__ void copy(const Pipeline<kConfig>& pipe, int block) const {
    ptx::copy_bulk(pipe.weight_tile() + block * kRecordBytes, first + block * block_bytes,
                   kRecordBytes, pipe.full_barrier());
  }
  __device__ void advance() { first += kRecordBytes; }
};

/// What the gathering producer is made of; dense weights: wgmma_dense_produce.h.
template <WgmmaConfig kConfig>
struct Gathering {
  using Feed = ColumnFeed;
  using Rows = Gather<kConfig>;
  using Weight = RecordCopies<kConfig>;
};

template <WgmmaConfig kConfig>
__device__ inline void produce_gathered(const ProductArguments& p, const WgmmaMaps& maps,
                                        Pipeline<kConfig> pipe, int thread) {
  constexpr int kColumnSteps = kConfig.shape.column_steps();
  const int warp = thread / 32;
  typename Gathering<kConfig>::Rows gather(p, thread);
  typename Gathering<kConfig>::Feed feed{pipe.columns, thread};
  TileWalk<kConfig, true> walk(p);
  const StepSlice slice = StepSlice::of<kConfig>(p);
  ptx::wait_for_kernels_before();
  if (walk.valid()) feed.fetch(p, walk.now.rows.tile().vector, slice.begin);
  for (; walk.valid(); walk.advance()) {
    const RowTile rows = walk.now.rows.tile();
    const std::int32_t next_vector = walk.next.rows.tile().vector;
    gather.begin_tile(p, walk.now.token, thread);
    typename Gathering<kConfig>::Weight weight(p, maps, rows, slice.begin);
    const bool copies = thread % 32 == 0 && warp < weight.blocks;
    pipe.wait_empty();  // not in the loop: a branch there costs every step of a small tile
    if (thread == 0) pipe.announce({rows.row, rows.rows, walk.now.token});
#pragma unroll 1
    for (int step = 0; step < slice.count; ++step) {
      if (step % kColumnSteps == 0) {
        feed.publish(p);
        if (step + kColumnSteps < slice.count)
          feed.fetch(p, rows.vector, slice.begin + step + kColumnSteps);
        else if (walk.has_next())
          feed.fetch(p, next_vector, slice.begin);
      }
      gather.read_columns(pipe.columns + step % kColumnSteps * (kConfig.step_cols() * 2));
      pipe.wait_empty();
      if (thread == 0) ptx::barrier_arrive_expect(pipe.full_barrier(), weight.bytes);
      if (copies) weight.copy(pipe, warp);
      weight.advance();
      gather.copy(pipe.activation_tile());
      ptx::barrier_arrive_on_copies(pipe.full_barrier());
      pipe.advance();
    }
    if constexpr (kConfig.brings_residuals())
      bring_residual(p, maps, pipe, {rows.row, rows.rows, walk.now.token}, thread == 0);
  }
  pipe.wait_empty();
  if (thread == 0) {
    pipe.announce({});
    ptx::barrier_arrive(pipe.full_barrier());
  }
  ptx::barrier_arrive_on_copies(pipe.full_barrier());
  ptx::copy_async_commit();
  ptx::copy_async_wait<0>();
}

/// The activations' part of a tile, in order. What lies behind the last token is not asked for: the
/// copy engine takes longer for rows that it fills with zeros than for those it reads (17 tokens in
/// boxes of 64: 34 us instead of 21, H200). Sums of such tokens are of what was there before, and
/// not stored.
template <WgmmaConfig kConfig>
struct OrderedCopies {
  static constexpr bool kTokenMajor = kConfig.source == Source::token_major;
  static constexpr int kPanelBytes = kStepCols * 128;  // feature-major: of 64 tokens
  const CUtensorMap* map;
  int token, panels;
  int step_cols = kStepCols;  // from step to step
  std::uint32_t bytes;        // of a step

  __device__ OrderedCopies(const ProductArguments& p, const WgmmaMaps& maps, int first) {
    const int tokens = min(kConfig.tile_tokens(), p.tokens - first);
    token = first;
    panels = (tokens + 63) / 64;
    map = kTokenMajor && tokens < kConfig.tile_tokens() ? &maps.x_rest : &maps.x;
    bytes = kTokenMajor ? tokens * (kStepCols * 2) : panels * kPanelBytes;
    if constexpr (kConfig.spreads()) {
      step_cols = spread::step_cols(p.columns.group);
      bytes = panels * spread::step_rows(p.columns.group) * 128;
    }
  }
  __device__ void copy(const Pipeline<kConfig>& pipe, int step) const {
    const std::uint32_t tile = pipe.activation_tile(), full = pipe.full_barrier();
    if constexpr (kTokenMajor) {
      ptx::load_box(tile, map, step * kStepCols, token, full);
    } else {
#pragma unroll
      for (int panel = 0; panel < kConfig.tile_tokens() / 64; ++panel)
        if (panel < panels)
          ptx::load_box(tile + panel * kPanelBytes, map, token + 64 * panel, step * step_cols,
                        full);
    }
  }
};

/// Activations in order come by the copy engine as well: one thread gives the orders.
template <WgmmaConfig kConfig>
__device__ inline void produce_in_order(const ProductArguments& p, const WgmmaMaps& maps,
                                        Pipeline<kConfig> pipe) {
  TileWalk<kConfig> walk(p);
  const StepSlice slice = StepSlice::of<kConfig>(p);
  ptx::wait_for_kernels_before();
  for (; walk.valid(); walk.advance()) {
    RecordCopies<kConfig> records(p, maps, walk.now.rows, slice.begin);
    const OrderedCopies<kConfig> activations(p, maps, walk.now.token);
#pragma unroll 1
    for (int step = slice.begin; step < slice.begin + slice.count; ++step) {
      pipe.wait_empty();
      if (step == slice.begin) pipe.announce(walk.info());
      ptx::barrier_arrive_expect(pipe.full_barrier(), records.bytes + activations.bytes);
      activations.copy(pipe, step);
#pragma unroll
      for (int block = 0; block < kConfig.shape.blocks(); ++block)
        if (block < records.blocks) records.copy(pipe, block);
      records.advance();
      pipe.advance();
    }
    if constexpr (kConfig.brings_residuals()) bring_residual(p, maps, pipe, walk.info(), true);
  }
  pipe.wait_empty();
  pipe.announce({});
  ptx::barrier_arrive(pipe.full_barrier());
}

}  // namespace coppice::cuda
