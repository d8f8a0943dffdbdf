// Products of element-wise weights on sparse tensor cores, sm_90a: weights stream through once,
// straight from memory to registers, and become fragments of 2:4 there (quad_rows.h). Activations
// were put in order before (quad_order.cu); the copy engine brings them, stage by stage, in the
// order of wgmma, so that nobody touches them here.
//
// y [tokens, rows] = w x: a warp has 16 rows, a warpgroup 64, and all tokens of the tile. A stage
// is refilled by the first thread when all warps are done with it, two stages behind, and nobody
// waits for a slower warp otherwise. Steps are divided among the ranks of a cluster, whose sums are
// added in ascending order.
#pragma once

#include "cuda/element/fragment_sums.h"
#include "cuda/element/quad_arguments.h"
#include "cuda/element/quad_rows.h"
#include "cuda/element/quad_stages.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/wgmma.h"

namespace coppice::cuda {

/// kFormNumber: of kQuadForms; kTokens: of kQuadTiles.
template <int kFormNumber, Dtype kType, int kTokens>
__global__ void __launch_bounds__(32 * quad_warps(kTokens), 1)
    quad_kernel(const __grid_constant__ QuadArguments p) {
  constexpr QuadForm kForm = kQuadForms[kFormNumber];
  constexpr QuadPlaces kPlaces = quad_places(kForm, kTokens);
  constexpr int kTiles = kTokens / 8, kStageBlocks = kPlaces.stage_blocks;
  using Rows = QuadRows<kForm>;
  static_assert(Rows::kBlocks % kStageBlocks == 0 && Rows::kBlocks % 2 == 0);
  extern __shared__ __align__(1024) std::byte quad_shared[];
  constexpr std::uint32_t kTableEnd = kForm.table_bytes() - 1;
  const std::uint32_t table = (ptx::shared_address(quad_shared) + kTableEnd) & ~kTableEnd;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = blockIdx.x % p.split.ranks, tile = blockIdx.x / p.split.ranks;
  const int first_token = blockIdx.y * kTokens;
  const int block_unit = tile * p.split.warps, unit = block_unit + warp;
  // Of a warpgroup all warps or none.
  const int groups = min(p.split.warps / 4, (p.weight.layout.units() - block_unit + 3) / 4);
  const bool here = warp / 4 < groups;
  const int all = quad_steps(kForm, p.weight.layout);
  const int first = rank * p.split.rank_steps, end = min(first + p.split.rank_steps, all);

  ptx::let_next_kernel_begin();
  // Weights do not come from the kernel before: they are on their way while it ends.
  Rows rows(p.weight, unit, first, end, lane, table);
  if (here) rows.load_first();
  QuadStages<kForm, kTokens> stages(
      table,
      p.ordered + (static_cast<std::int64_t>(blockIdx.y) * p.blocks + first * Rows::kBlocks) *
                      (kTokens * 128),
      (end - first) * (Rows::kBlocks / kStageBlocks));
  if (threadIdx.x == 0) stages.init(4 * groups);
  fill_unit_table<kForm>(table);
  ptx::wait_for_kernels_before();
  __syncthreads();
  if (threadIdx.x == 0) stages.fill_first();
  __syncwarp();

  float sums[4 * kTiles] = {};
  if (here) {
    constexpr std::uint32_t kHigh = ptx::descriptor_high(1024, ptx::Swizzle::bytes_128);
    // Registers of products under way must not change: two sets, in turn.
    QuadFragments sets[2] = {};
    rows.look_up_first();
#pragma unroll 1
    for (int step = first; step < end; ++step) {
      rows.step([&]<int kBlock>(const auto& make) {
        constexpr int kSet = kBlock % 2, kOfStage = kBlock % kStageBlocks;
        make(sets[kSet]);
        sets[kSet].keep();
        if constexpr (kOfStage == 0) stages.open(threadIdx.x == 0);
        const std::uint32_t x = stages.block(kOfStage);
        ptx::wgmma_fence();
        ptx::sparse_wgmma<kType, 0, 0>(sums, sets[kSet].a[0], ptx::matrix_descriptor(x, kHigh),
                                       sets[kSet].metadata[0]);
        ptx::sparse_wgmma<kType, 1, 0>(sums, sets[kSet].a[1], ptx::matrix_descriptor(x + 4, kHigh),
                                       sets[kSet].metadata[0]);
        ptx::wgmma_commit();
        ptx::wgmma_wait<1>();  // the block before is done
        sets[1 - kSet].keep();
        if constexpr (kOfStage == 0) stages.release_last(lane == 0);
        if constexpr (kOfStage == kStageBlocks - 1) stages.close();
      });
    }
    ptx::wgmma_wait<0>();
    sets[0].keep();
    sets[1].keep();
    ptx::keep_order(sums);
  }
  const auto& own = reinterpret_cast<const float(&)[1][kTiles][4]>(sums);
  if (p.split.ranks > 1)
    store_cluster_sums<kType>(p, own, block_unit, first_token, table, rank, warp, lane);
  else if (here)
    store_own_sums<kType>(p, own, unit, first_token, lane);
}

}  // namespace coppice::cuda
