// The consumer warpgroups of a wgmma kernel: products of the stages, then the tile's outputs.
#pragma once

#include "cuda/kernels/spread_layout.h"
#include "cuda/kernels/wgmma_slices.h"
#include "cuda/kernels/wgmma_store.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/wgmma.h"

namespace coppice::cuda {

/// A consumer's place in a thread block.
struct ConsumerPlace {
  int row_group, token_group, thread;
  bool active;
  int col_group = 0;
};

/// Where a consumer's operands lie in stage 0: halves of descriptors, and the metadata.
template <WgmmaConfig kConfig>
struct Operands {
  static constexpr int kBlocks = kConfig.shape.group_blocks;
  static constexpr bool kTokenMajor = kConfig.source == Source::token_major;
  static constexpr int kTransB = kTokenMajor ? 0 : 1;
  static constexpr std::uint32_t kHighA = ptx::descriptor_high(kCoreRowBytes, ptx::Swizzle::none);
  static constexpr std::uint32_t kHighB = ptx::descriptor_high(1024, ptx::Swizzle::bytes_128);
  // From the first 32 columns of a step to the others, and from block to block; 1 is 16 bytes.
  // MN-major: panels of 64 tokens, 64 rows of 128 bytes each. K-major: a row of 128 bytes a token.
  static constexpr std::uint32_t kNextColumns = (kTokenMajor ? 64 : 32 * 128) >> 4;
  static constexpr std::uint32_t kNextValues = (2 * kCoreBytes) >> 4;
  static constexpr std::uint32_t kNextBlock = kRecordBytes >> 4;
  std::uint32_t a, b, metadata;
  std::uint32_t high_b = kHighB, next_columns = kNextColumns;

  __device__ Operands(const ProductArguments& p, const Pipeline<kConfig>& pipe,
                      const ConsumerPlace& place) {
    const std::uint32_t records = pipe.weights + place.row_group * kBlocks * kRecordBytes;
    const std::uint32_t activations =
        pipe.activations + place.token_group * kConfig.shape.tokens * kStepCols * 2;
    a = ptx::descriptor_low(records, kCoreBytes);
    b = ptx::descriptor_low(activations, kStepCols * 128);
    metadata = records + kValueBytes + place.thread % 128 * 4;
    if constexpr (kConfig.spreads()) {  // atoms of 8 rows overlap
      const int group = p.columns.group;
      high_b = ptx::descriptor_high(spread::atom_cols(group) * 128, ptx::Swizzle::bytes_128);
      next_columns = spread::product_cols(group) * 128 >> 4;
    }
  }

  /// The product of one stage: two k32 instructions a block, one metadata word for both. The words
  /// must not change before the instructions are done.
  template <int kCount>
  __device__ void multiply(std::uint32_t stage, float (&d)[kBlocks][kCount],
                           std::uint32_t (&words)[kBlocks], bool adds) const {
    const std::uint32_t words_at = metadata + stage * kConfig.weight_bytes();
    const std::uint32_t a_now = a + stage * (kConfig.weight_bytes() >> 4);
    const std::uint32_t b_now = b + stage * (kConfig.activation_bytes() >> 4);
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) words[i] = ptx::load_shared(words_at + i * kRecordBytes);
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      const std::uint32_t values = a_now + i * kNextBlock;
      ptx::sparse_wgmma<kConfig.type, 0, kTransB>(d[i], ptx::matrix_descriptor(values, kHighA),
                                                  ptx::matrix_descriptor(b_now, high_b), words[i],
                                                  adds);
      ptx::sparse_wgmma<kConfig.type, 1, kTransB>(
          d[i], ptx::matrix_descriptor(values + kNextValues, kHighA),
          ptx::matrix_descriptor(b_now + next_columns, high_b), words[i], 1);
    }
    ptx::wgmma_commit();
  }
};

/// The products of one tile's steps, of which there is at least one, as `d`; releases every stage
/// once its products are done.
template <WgmmaConfig kConfig, int kBlocks, int kCount>
class TileSum {
 public:
  __device__ TileSum(Pipeline<kConfig>& pipe, float (&d)[kBlocks][kCount],
                     const Operands<kConfig>& operands, const ConsumerPlace& place)
      : pipe_(pipe), d_(d), operands_(operands), place_(place) {}

  __device__ void run(int steps) {
    // wgmma reads its metadata register when it executes, not when it is issued. At most two steps
    // are under way, so each has registers of its own, kept until its products are done.
    std::uint32_t even[kBlocks] = {}, odd[kBlocks] = {};
#pragma unroll 1
    for (int step = 0; step < steps; step += 2) {
      half(even, odd, step > 0);
      if (step + 1 < steps) half(odd, even, true);
    }
    ptx::wgmma_wait<0>();
    if constexpr (!kConfig.dense()) {
      ptx::keep_values(even);
      ptx::keep_values(odd);
    }
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) ptx::keep_order(d_[i]);
    __syncwarp();  // every lane has read its metadata
    if (releases()) ptx::barrier_arrive(previous_);
  }

 private:
  __device__ bool releases() const { return place_.thread % 32 == 0; }
  __device__ void half(std::uint32_t (&metadata)[kBlocks], std::uint32_t (&before)[kBlocks],
                       bool adds) {
    pipe_.wait_full();
    if constexpr (kConfig.gathers()) ptx::fence_async_proxy();
    __syncwarp();
    if (place_.active) operands_.multiply(pipe_.stage, d_, metadata, adds);
    ptx::wgmma_wait<1>();
    if constexpr (!kConfig.dense()) ptx::keep_values(before);
    if (adds && releases()) ptx::barrier_arrive(previous_);
    previous_ = pipe_.empty_barrier();
    pipe_.advance();
  }

  Pipeline<kConfig>& pipe_;
  float (&d_)[kBlocks][kCount];
  const Operands<kConfig>& operands_;
  ConsumerPlace place_;
  std::uint32_t previous_ = 0;
};

/// Reads what the outputs of block number `block` of a warpgroup's tile need. @returns whether its
/// rows are whole and side by side.
template <WgmmaConfig kConfig>
__device__ inline bool block_output(const ProductArguments& p, const TileInfo& tile, int block,
                                    int warp, int lane, UnitOutput& out) {
  const int before = block * kBlockRows, left = tile.rows - before;
  if constexpr (kConfig.expands()) {  // rows are padded ones, and may be of several vectors
    const int unit = (tile.row + before) / kUnitRows;
    out = unit_output<kConfig.type>(p, left > 0 ? unit + warp : -1, tile.token, lane);
    if (left <= 0) return true;
    // Also of several vectors the last unit's place tells whether all are whole.
    const RowUnit* last = p.units + unit + kBlockUnits - 1;
    return __ldg(&last->rows) == kUnitRows &&
           __ldg(&last->row) - __ldg(&p.units[unit].row) == kBlockRows - kUnitRows;
  } else {
    const int skipped = before + warp * kUnitRows;
    // Not max(0, min(tile.rows - skipped, 16)): of that ptxas 13.0 makes one VIMNMX.RELU, and takes
    // a later comparison with 16 from its predicate, which is wrong (true for 6).
    const RowUnit unit{tile.row + skipped, min(max(tile.rows, skipped) - skipped, kUnitRows), 0, 0};
    out = unit_output<kConfig.type>(p, unit, tile.token, lane);
    return left <= 0 || left >= kBlockRows;
  }
}

/// Stores the sums of a warpgroup's tile. What that needs of the thread's number is computed here,
/// not kept (and spilled) beside the sums.
template <WgmmaConfig kConfig, int kBlocks, int kCount>
__device__ inline void store_sums(const ProductArguments& p, const WgmmaMaps& maps,
                                  const Pipeline<kConfig>& pipe, const TileInfo& tile,
                                  const ResidualStages<kConfig>& residual,
                                  float (&d)[kBlocks][kCount]) {
  const int thread = ptx::thread_index(), lane = thread % 32, warp = thread / 32 % 4;
  UnitOutput out[kBlocks];
  // The copy engine writes whole blocks, in pieces of 16 bytes.
  bool staged = p.staged &&
                (p.epilogue.residual == nullptr ||
                 (kConfig.brings_residuals() && brings_residual(p, tile))) &&
                (p.epilogue.token_major || p.tokens % 8 == 0 ||
                 tile.token + kConfig.shape.tokens <= p.tokens);
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
    const bool whole = block_output<kConfig>(p, tile, i, warp, lane, out[i]);
    staged = staged && whole && !(p.epilogue.token_major && out[i].unit.row % 8 != 0);
  }
  if (staged)
    store_staged<kConfig>(p.epilogue, maps.y, Staging<kConfig>(pipe.staging, thread), residual, out,
                          d, warp);
  else
    store_units<kConfig.type>(p.epilogue, out, d, lane);
}

template <WgmmaConfig kConfig>
__device__ inline void consume(const ProductArguments& p, const WgmmaMaps& maps,
                               Pipeline<kConfig> pipe, int group, int thread) {
  constexpr int kBlocks = kConfig.shape.group_blocks;
  constexpr int kCount = kConfig.shape.tokens / 2;
  const int row_group = group / kConfig.shape.token_groups;
  const int token_group = group % kConfig.shape.token_groups;
  const Operands<kConfig> operands(p, pipe, {row_group, token_group, thread, true});
  const int steps = StepSlice::of<kConfig>(p).count;
  ptx::wait_for_kernels_before();
#pragma unroll 1
  for (;;) {
    TileInfo tile = pipe.wait_announced();
    if (tile.rows == 0) break;
    const int first_row = row_group * kBlocks * kBlockRows;
    tile.row += first_row;
    tile.rows = min(tile.rows - first_row, kBlocks * kBlockRows);  // of this warpgroup
    tile.token += token_group * kConfig.shape.tokens;
    float d[kBlocks][kCount];
    TileSum<kConfig, kBlocks, kCount>(pipe, d, operands,
                                      {row_group, token_group, thread, tile.rows > 0})
        .run(steps);
    bool stores = true;
    if constexpr (kConfig.shape.slices > 1)
      if (p.slices > 1) stores = add_slices<kConfig>(p, pipe, d, thread);
    const ResidualStages<kConfig> residual(pipe, row_group, token_group);
    if constexpr (kConfig.brings_residuals())
      if (brings_residual(p)) residual.take(pipe);
    if (stores && tile.rows > 0 && tile.token < p.tokens)
      store_sums<kConfig>(p, maps, pipe, tile, residual, d);
    if constexpr (kConfig.brings_residuals())
      if (brings_residual(p)) residual.release();
  }
  Staging<kConfig>(pipe.staging, thread).drain();
}

}  // namespace coppice::cuda
