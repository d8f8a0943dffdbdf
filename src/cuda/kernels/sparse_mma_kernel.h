// Products of 2-of-4 weights by mma.sp (sm_80 and later).
//
// Eight warps of a multiprocessor (one thread block of 8, or several smaller ones) multiply 64 rows
// x 64 tokens each. Activations lie in shared memory row by row (a row = one column of the weight,
// all tokens of the tile), and ldmatrix takes any eight rows for an 8x8 block: a gather out of
// shared memory costs nothing but bank conflicts. So vectors can share the rows of all columns of a
// step's groups (window), or every vector has the rows of its own columns (gathered).
//
// All warps copy and multiply. Every stage of shared memory has a barrier at which its copies
// arrive when they have landed, and warps when they have left the stage one or two before it; they
// go on multiplying what is in registers while they wait for the others. What the next group of
// products needs is read while the present one is multiplied, and copies are issued one by one
// between products: a burst of them would hold up the reads behind it, which take the same way.
//
// Within a tile all that comes from global memory comes by asynchronous copies, the lists of
// columns too: a load waits behind all copies under way.
//
// Thread blocks are persistent: the copies of the next tile are under way while one is stored.
#pragma once

#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/sparse_mma_multiply.h"

namespace coppice::cuda::mma {

template <int kIndex, Dtype kType>
__global__ void __launch_bounds__(kMmaKernels[kIndex].threads(),
                                  kMmaKernels[kIndex].thread_blocks())
    sparse_mma_kernel(const __grid_constant__ ProductArguments p) {
  constexpr MmaKernel kKernel = kMmaKernels[kIndex];
  extern __shared__ __align__(128) std::byte shared_memory[];
  const std::uint32_t shared = (ptx::shared_address(shared_memory) + 127) / 128 * 128;
  const std::uint32_t stage_bytes =
      Stage<kKernel>::kRows + static_cast<std::uint32_t>(p.stage_rows) * Stage<kKernel>::kPitch;
  const RingWalk ring(shared, stage_bytes, p.stages);
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  // Arrivals: of every thread's copies, and of every thread when it has left the stage before.
  if (thread < p.stages)
    ptx::barrier_init(shared + thread * stage_bytes + Stage<kKernel>::kBarrier,
                      2 * kKernel.threads());
  __syncthreads();
  Multiplier<kKernel, kType> multiplier(p, ring, thread);
  if (p.steps > 0) multiplier.start();
  const int tiles = p.row_tile_count * p.token_tile_count;
#pragma unroll 1
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const TilePlace place = tile_place(tile, p.row_tile_count, p.token_tile_count, p.token_group);
    float d[kBlockUnits][32] = {};
    multiplier.multiply(place.row_tile, d);
    const int block = place.row_tile * kKernel.row_warps + warp / kKernel.token_warps;
    const int token = place.token_tile * kKernel.tile_tokens() + warp % kKernel.token_warps * 64;
    UnitOutput out[kBlockUnits];
#pragma unroll
    for (int u = 0; u < kBlockUnits; ++u)
      out[u] =
          unit_output<kType>(p, block < p.block_count ? block * kBlockUnits + u : -1, token, lane);
    store_units<kType>(p.epilogue, out, d, lane);
  }
  ptx::copy_async_wait<0>();
}

}  // namespace coppice::cuda::mma
