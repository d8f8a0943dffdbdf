// Products by look-ups: every kept weight is multiplied on CUDA cores by the activations that its
// choice names, which lie in shared memory. For few tokens: weights stream through once, by a ring
// in shared memory (lookup_ring.h), and a value takes five instructions; of a list that two rows of
// a lane share three and a half.
//
// y [tokens, rows] = w x: a thread block has a tile of rows, 1 to 4 tokens, and of the chunks those
// of its rank; its warps are `row_warps` x `chunk_warps`. There is one on every multiprocessor,
// with half of its registers and memory, so that the next kernel's fill their rings meanwhile:
// H200, 2:8, 14336 x 4096, one token, 12.8 to 9.7 us. What comes before the first copies is short,
// without divisions or unrolled loops: it delays the next kernel. Look-ups: lanes of the same t
// name columns of one group, those of another t of the next: without conflicts up to M = 8 (32
// columns side by side), about two cycles at M = 16; masks of more columns are turned
// (LookupConfig::turn), 8:32 takes 2.1 cycles then, not 3.6. All sums are in an order that depends
// on the weight and the device alone. Shared memory: lookup_places.
#pragma once

#include "cuda/element/lookup_ring.h"
#include "cuda/element/lookup_stage.h"
#include "cuda/element/lookup_table.h"
#include "cuda/element/rank_sums.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda {

/// Adds up what the four lanes of a row have, and adds it to the warp's sums.
template <int kTokens>
__device__ inline void keep_sums(float (&sum)[kTokens], float* to, int lane) {
#pragma unroll
  for (int i = 0; i < kTokens; ++i) {
    sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 1);
    sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], 2);
    if (lane % kElementLanes == 0) to[lane / kElementLanes * kTokens + i] += sum[i];
    sum[i] = 0;
  }
}

__device__ inline void clear_sums(float* sums, int count) {
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
    sums[i] = 0;
}

/// Columns of the activations that the walk's pass needs.
__device__ inline ChunkColumns columns_of(const ElementWeight& w, const LookupWalk& walk) {
  return {w.chunks[walk.chunk].first, w.chunks[walk.pass_end() - 1].last};
}

template <int kForm, Dtype kType, int kTokens>
__global__ void __launch_bounds__((LookupConfig{kLookupForms[kForm], kType, kTokens}.threads()),
                                  (LookupConfig{kLookupForms[kForm], kType, kTokens}.residents()))
    lookup_kernel(const __grid_constant__ ElementArguments p,
                  const __grid_constant__ LookupPlaces at) {
  constexpr LookupConfig kConfig{kLookupForms[kForm], kType, kTokens};
  using Ring = LookupRing<kConfig>;
  extern __shared__ __align__(1024) std::byte lookup_shared[];
  const ElementSplit& s = p.split;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = blockIdx.x, tile = blockIdx.y, first_token = blockIdx.z * kTokens;
  const int first_row = s.first_row(tile), rows = s.rows();
  const std::uint32_t shared = ptx::shared_address(lookup_shared);
  const std::uint32_t table = shared + at.table + lane * 4;
  auto* sums = reinterpret_cast<float*>(lookup_shared + at.sums);

  // Weights do not come from the kernels before: they are on their way while those end.
  LookupWalk walk(s, p.weight.layout.units(), p.weight.chunk_count, rank, tile, warp);
  Ring ring(p.weight, walk, shared + at.slots + warp * at.stages * Ring::Item::kBytes,
            shared + at.barriers + warp * at.stages * 8, at.stages, lane);
  int until_next = at.announce_after;
  if (until_next == 0) ptx::let_next_kernel_begin();
  if constexpr (kConfig.tabled())
    fill_tables<kConfig>(reinterpret_cast<std::uint32_t*>(lookup_shared + at.table));
  clear_sums(sums, s.chunk_warps * rows * kTokens);
  ChunkColumns columns;
  if (walk.chunk < walk.end_chunk) columns = columns_of(p.weight, walk);
  ptx::wait_for_kernels_before();

  typename LookupItem<kConfig>::Sums sum = {};
  while (walk.chunk < walk.end_chunk) {
    stage_activations<kConfig>(p, columns, first_token, lookup_shared);
    __syncthreads();
    const std::uint32_t column_0 = shared - columns.first * kConfig.column_bytes();
    while (walk.here()) {
      LookupItem<kConfig> item;
      ring.take(item, walk);
      if (--until_next == 0) ptx::let_next_kernel_begin();
      constexpr int kHalves = LookupItem<kConfig>::kHalves;
      const int row = walk.part * kHalves * 8 - first_row, chunk = walk.now;
      const bool last = walk.last_of_part();
      walk.next();
      item.multiply(p.weight, column_0, table, chunk, lane % kElementLanes, sum);
      if (!last) continue;
#pragma unroll
      for (int h = 0; h < kHalves; ++h)
        keep_sums<kTokens>(sum[h], sums + (walk.chunk_warp * rows + row + h * 8) * kTokens, lane);
    }
    if (walk.next_pass()) {
      columns = columns_of(p.weight, walk);
      __syncthreads();
    }
  }
  if (until_next > 0) ptx::let_next_kernel_begin();
  store_sums<kConfig.type, kTokens>(p, sums, s.chunk_warps, first_row, s.first_row(tile + 1), rows,
                                    first_token, rank);
}

}  // namespace coppice::cuda
