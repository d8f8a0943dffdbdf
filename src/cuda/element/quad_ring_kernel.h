// Products of element-wise weights on sparse tensor cores, sm_90a: weights stream through once, by
// rings in shared memory (quad_ring.h) that are full before the kernels in front have ended, and
// become fragments of 2:4 in registers.
//
// y [tokens, rows] = w x: a warp has 16 rows, a warpgroup 64, and all tokens of the tile. A thread
// block has so many rows that there is one on every multiprocessor. Where that leaves warps over,
// groups of them divide the columns, and beyond the ranks of a cluster; sums are added in ascending
// order. What binds are instructions and the latency of a block of 64 slots: decode.md.
#pragma once

#include "cuda/element/quad_inputs.h"
#include "cuda/element/quad_ring.h"
#include "cuda/element/quad_sums.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/sparse_wgmma_tiles.h"

namespace coppice::cuda {

/// kFormNumber: of kQuadForms; kTokens: of kQuadRingTiles.
template <int kFormNumber, Dtype kType, int kTokens>
__global__ void __launch_bounds__(32 * kMostQuadWarps, 1)
    quad_ring_kernel(const __grid_constant__ QuadRingArguments p) {
  constexpr QuadForm kForm = kQuadForms[kFormNumber];
  constexpr int kTiles = kTokens / 8, kStageBlocks = kQuadStageBlocks;
  using Ring = QuadRing<kForm>;
  static_assert(Ring::kBlocks % kStageBlocks == 0 && Ring::kBlocks % 2 == 0);
  extern __shared__ __align__(1024) std::byte quad_shared[];
  const std::uint32_t shared = ptx::shared_address(quad_shared);
  const QuadSplit& s = p.split;
  const QuadRingPlaces& at = p.places;
  const int lane = threadIdx.x % 32, warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const int rank = blockIdx.x, block_unit = blockIdx.y * s.units;
  const int first_token = blockIdx.z * kTokens, group_warps = s.group_warps();
  // Of up to four groups.
  const int group = (warp >= group_warps) + (warp >= 2 * group_warps) + (warp >= 3 * group_warps);
  const int row_warp = warp - group * group_warps, unit = block_unit + row_warp;
  const bool owns = row_warp < s.units && unit < p.weight.layout.units();
  const int part = rank * s.groups + group, all = quad_slots(p.weight.layout);
  const int first = min(part * s.part_slots, all), count = min(s.part_slots, all - first);

  // Weights do not come from the kernel before: they are on their way while it ends.
  const int ring_warp = group * s.units + row_warp;
  const std::uint32_t table = shared + at.table;
  // A warp without rows reads anything.
  Ring ring(p.weight, unit, first, owns ? count : 0,
            owns ? shared + at.ring + ring_warp * at.slots * slot_bytes(kForm) : table,
            shared + at.slot_barriers + ring_warp * at.slots * 8, owns ? at.slots : 1, table, lane);
  ptx::let_next_kernel_begin();
  const std::int64_t first_block =
      std::int64_t{blockIdx.z} * (all * Ring::kBlocks) + first * Ring::kBlocks;
  const bool leads = threadIdx.x == group * group_warps * 32;
  QuadInputs<kTokens> inputs(p.ordered + first_block * (kTokens * 128),
                             count * (Ring::kBlocks / kStageBlocks),
                             shared + group * at.stages * quad_stage_bytes(kTokens),
                             shared + at.stage_barriers + group * at.stages * 16, at.stages, leads);
  if (leads) inputs.init(group_warps);
  fill_ring_table<kForm>(table);
  ptx::wait_for_kernels_before();
  __syncthreads();
  inputs.fill_first();
  __syncwarp();

  float sums[4 * kTiles] = {};
  if (count > 0) {
    constexpr std::uint32_t kHigh = ptx::descriptor_high(1024, ptx::Swizzle::bytes_128);
    // Registers of products under way must not change: two sets, in turn.
    QuadFragments sets[2] = {};
    ring.open_first();
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
      ring.slot([&]<int kBlock>(const auto& make) {
        constexpr int kSet = kBlock % 2, kOfStage = kBlock % kStageBlocks;
        make(sets[kSet]);
        sets[kSet].keep();
        if constexpr (kOfStage == 0) inputs.open();
        const std::uint32_t x = inputs.block(kOfStage);
        ptx::wgmma_fence();
        ptx::sparse_wgmma_tile<kType, 0>(sums, sets[kSet].a[0], ptx::matrix_descriptor(x, kHigh),
                                         sets[kSet].metadata[0]);
        ptx::sparse_wgmma_tile<kType, 1>(
            sums, sets[kSet].a[1], ptx::matrix_descriptor(x + 4, kHigh), sets[kSet].metadata[0]);
        ptx::wgmma_commit();
        ptx::wgmma_wait<1>();  // the block before is done
        sets[1 - kSet].keep();
        if constexpr (kOfStage == 0) inputs.release_last(lane == 0);
        if constexpr (kOfStage == kStageBlocks - 1) inputs.close();
      });
    }
    ptx::wgmma_wait<0>();
    sets[0].keep();
    sets[1].keep();
    ptx::keep_order(sums);
  }
  if (s.ranks * s.groups > 1)
    store_quad_sums_of_all<kType, kTiles>(p, sums, block_unit, first_token, shared, rank, group,
                                          row_warp, owns);
  else if (owns)
    store_quad_sums<kType, kTiles>(p, sums, unit, first_token, lane);
}

}  // namespace coppice::cuda
