// The consumer warpgroups of a wgmma kernel: products of the stages, then the tile's outputs.
#pragma once

#include "cuda/kernels/wgmma_store.h"
#include "cuda/ptx/wgmma.h"

namespace coppice::cuda {

/// A consumer's place in a thread block.
struct ConsumerPlace {
  int row_group, token_group, thread;
  bool active;
};

/// Where a consumer's operands lie in stage 0: halves of descriptors, and the metadata.
template <WgmmaConfig kConfig>
struct Operands {
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

  __device__ Operands(const Pipeline<kConfig>& pipe, const ConsumerPlace& place) {
    constexpr int kBlocks = kConfig.shape.group_blocks;
    const std::uint32_t records = pipe.weights + place.row_group * kBlocks * kRecordBytes;
    const std::uint32_t activations =
        pipe.activations + place.token_group * kConfig.shape.tokens * kStepCols * 2;
    a = ptx::descriptor_low(records, kCoreBytes);
    b = ptx::descriptor_low(activations, kStepCols * 128);
    metadata = records + kValueBytes + place.thread % 128 * 4;
  }
};

/// Adds one tile's products to `d`; releases every stage once its products are done.
template <WgmmaConfig kConfig, int kBlocks, int kCount>
class TileSum {
 public:
  __device__ TileSum(Pipeline<kConfig>& pipe, float (&d)[kBlocks][kCount],
                     const Operands<kConfig>& operands, const ConsumerPlace& place)
      : pipe_(pipe), d_(d), operands_(operands), place_(place) {}

  __device__ void run(int steps) {
    if (steps == 0) return;
    // wgmma reads its metadata register when it executes, not when it is issued. At most two steps
    // are under way, so each has registers of its own, kept until its products are done.
    std::uint32_t even[kBlocks] = {}, odd[kBlocks] = {};
#pragma unroll 1
    for (int step = 0; step < steps; step += 2) {
      half(even, odd, step > 0);
      if (step + 1 < steps) half(odd, even, true);
    }
    ptx::wgmma_wait<0>();
    ptx::keep_values(even);
    ptx::keep_values(odd);
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) ptx::keep_order(d_[i]);
    __syncwarp();  // every lane has read its metadata
    if (releases()) ptx::barrier_arrive(previous_);
  }

 private:
  __device__ bool releases() const { return place_.thread % 32 == 0; }
  __device__ void half(std::uint32_t (&metadata)[kBlocks], std::uint32_t (&before)[kBlocks],
                       bool has_previous) {
    pipe_.wait_full();
    if constexpr (kConfig.gathers()) ptx::fence_async_proxy();
    __syncwarp();
    if (place_.active) multiply(metadata);
    ptx::wgmma_wait<1>();
    ptx::keep_values(before);
    if (has_previous && releases()) ptx::barrier_arrive(previous_);
    previous_ = pipe_.empty_barrier();
    pipe_.advance();
  }

  /// The product of one stage: two k32 instructions a block, one metadata word for both. The words
  /// must not change before the instructions are done.
  __device__ void multiply(std::uint32_t (&metadata)[kBlocks]) {
    using O = Operands<kConfig>;
    const std::uint32_t words = operands_.metadata + pipe_.stage * kConfig.weight_bytes();
    const std::uint32_t a = operands_.a + pipe_.stage * (kConfig.weight_bytes() >> 4);
    const std::uint32_t b = operands_.b + pipe_.stage * (kConfig.activation_bytes() >> 4);
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) metadata[i] = ptx::load_shared(words + i * kRecordBytes);
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      const std::uint32_t values = a + i * O::kNextBlock;
      ptx::sparse_wgmma<kConfig.type, 0, O::kTransB>(
          d_[i], ptx::matrix_descriptor(values, O::kHighA), ptx::matrix_descriptor(b, O::kHighB),
          metadata[i]);
      ptx::sparse_wgmma<kConfig.type, 1, O::kTransB>(
          d_[i], ptx::matrix_descriptor(values + O::kNextValues, O::kHighA),
          ptx::matrix_descriptor(b + O::kNextColumns, O::kHighB), metadata[i]);
    }
    ptx::wgmma_commit();
  }

  Pipeline<kConfig>& pipe_;
  float (&d_)[kBlocks][kCount];
  const Operands<kConfig>& operands_;
  ConsumerPlace place_;
  std::uint32_t previous_ = 0;
};

template <WgmmaConfig kConfig>
__device__ inline void consume(const ProductArguments& p, const WgmmaMaps& maps,
                               Pipeline<kConfig> pipe, int group, int thread) {
  constexpr int kBlocks = kConfig.shape.group_blocks;
  constexpr int kCount = kConfig.shape.tokens / 2;
  const int row_group = group / kConfig.shape.token_groups;
  const int token_group = group % kConfig.shape.token_groups;
  const int lane = thread % 32, warp = thread / 32 % 4;
  const int first_block = row_group * kBlocks;
  const Staging<kConfig> staging(pipe.staging, group, thread);
  const Operands<kConfig> operands(pipe, {row_group, token_group, thread, true});
  for (TileWalk<kConfig> walk(p); walk.valid(); walk.advance()) {
    const int token = walk.first_token() + token_group * kConfig.shape.tokens;
    float d[kBlocks][kCount] = {};
    UnitOutput out[kBlocks];  // read now: its latency is hidden behind the sums
    bool whole[kBlocks];
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      const bool exists = first_block + i < walk.rows.blocks;
      const int unit = (walk.rows.block + first_block + i) * kBlockUnits;
      out[i] = unit_output<kConfig.type>(p, exists ? unit + warp : -1, token, lane);
      const RowUnit* last = p.units + unit + kBlockUnits - 1;
      whole[i] = p.staged && (!exists || __ldg(&last->rows) == kUnitRows);
      // Of several vectors' units, too, the last one's place tells whether all are whole.
      if constexpr (kConfig.expands())
        whole[i] = whole[i] && (!exists || __ldg(&last->row) - __ldg(&p.units[unit].row) ==
                                               kBlockRows - kUnitRows);
    }
    TileSum<kConfig, kBlocks, kCount>(
        pipe, d, operands, {row_group, token_group, thread, first_block < walk.rows.blocks})
        .run(p.steps);
    // The copy engine writes whole pieces of 16 bytes.
    bool all_whole =
        p.epilogue.token_major || p.tokens % 8 == 0 || token + kConfig.shape.tokens <= p.tokens;
#pragma unroll
    for (int i = 0; i < kBlocks; ++i)
      all_whole = all_whole && whole[i] && !(p.epilogue.token_major && out[i].unit.row % 8 != 0);
    if (token >= p.tokens) continue;
    if (all_whole)
      store_staged<kConfig>(p.epilogue, maps.y, staging, out, d, warp);
    else
      store_units<kConfig.type>(p.epilogue, out, d, lane);
  }
  staging.drain();
}

}  // namespace coppice::cuda
