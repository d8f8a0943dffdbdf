// Products on tensor cores: weights stream through once, straight from memory to registers, and
// become dense fragments of mma there (fragment_expand.h, fragment_gather.h), for up to 64 tokens.
//
// y [tokens, rows] = w x: a warp has 16 rows and all tokens of the tile, a thread block 8 warps and
// the chunks of its rank. Sums are in the order of the chunks, then of the ranks: they depend on
// the weight and the device alone. Shared memory: activations [tokens][columns of a pass], at the
// end sums [rows][tokens].
#pragma once

#include <type_traits>

#include "cuda/element/fragment_expand.h"
#include "cuda/element/fragment_gather.h"
#include "cuda/element/rank_sums.h"
#include "cuda/element/stage.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda {

/// kFormNumber: of kFragmentForms; kTiles: times 8 tokens.
template <int kFormNumber, Dtype kType, int kTiles>
__global__ void __launch_bounds__(32 * kFragmentWarps, 2)
    fragment_kernel(const ElementArguments p) {
  constexpr FragmentForm kForm = kFragmentForms[kFormNumber];
  constexpr int kTokens = 8 * kTiles;
  using Item = std::conditional_t<kForm.gathers(), GatheredItem<kForm, kType, kTiles>,
                                  ExpandedItem<kForm, kType, kTiles>>;
  extern __shared__ uint4 fragment_shared[];
  auto* shared = reinterpret_cast<std::byte*>(fragment_shared);
  const int stride = fragment_stride(p.split.pass_columns, kForm.group);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = blockIdx.x % p.split.ranks, tile = blockIdx.x / p.split.ranks;
  const int first_token = blockIdx.y * kTokens, unit = tile * kFragmentWarps + warp;
  const bool here = unit < p.weight.layout.units();
  int chunk = rank * p.split.rank_chunks;
  const int end = min(chunk + p.split.rank_chunks, p.weight.chunk_count);

  ptx::let_next_kernel_begin();
  Item item, next;
  // Weights do not come from the kernel before: they are on their way while it ends.
  if (here && chunk < end) next.load(p.weight, unit, chunk, lane);
  ptx::wait_for_kernels_before();
  float sums[kTiles][4] = {};
  while (chunk < end) {
    const int pass_end = min(chunk + p.split.pass_chunks, end);
    const ChunkColumns columns{p.weight.chunks[chunk].first, p.weight.chunks[pass_end - 1].last};
    __syncthreads();
    stage_tokens<kType, kTokens>(p, columns, first_token, shared, stride);
    __syncthreads();
    const std::byte* x = shared + lane / kElementLanes * stride;
    for (; chunk < pass_end; ++chunk) {
      if (!here) continue;
      item = next;
      if (chunk + 1 < end) next.load(p.weight, unit, chunk + 1, lane);
      item.multiply(x, stride, columns.first, chunk, lane % kElementLanes, sums);
    }
  }
  __syncthreads();
  auto* out = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 16 * warp + lane / 4 + i / 2 * 8, token = 8 * t + lane % 4 * 2 + i % 2;
      out[row * (kTokens + 1) + token] = sums[t][i];
    }
  store_sums<kType, kTokens, kTokens + 1>(p, out, 1, tile * kFragmentRows, kFragmentRows,
                                          first_token, rank);
}

}  // namespace coppice::cuda
