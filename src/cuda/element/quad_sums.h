// The end of a thread block of a product of quads by rings: sums of its groups of warps, and of the
// ranks of its cluster, in ascending order, then the epilogue.
#pragma once

#include "cuda/element/fragment_sums.h"
#include "cuda/element/quad_arguments.h"
#include "cuda/element/quad_ring_plan.h"

namespace coppice::cuda {

/// Sums of a part, 16 rows x `fragments` * 8 tokens from `first` on, to memory.
template <Dtype kType>
__device__ inline void store_quad_part(const ElementProduct& p, const float (&d)[16], int unit,
                                       int first, int fragments, int lane) {
  const UnitOutput out = fragment_output<kType>(p, unit, first, 8 * fragments, lane);
  store_part<kType>(p.epilogue, out, d, first, lane);
}

template <Dtype kType, int kTiles>
__device__ inline void store_quad_sums(const QuadRingArguments& p, const float (&sums)[4 * kTiles],
                                       int unit, int first_token, int lane) {
#pragma unroll
  for (int tile = 0; tile < kTiles; tile += kPartFragmentsMost) {
    const int fragments = min(kPartFragmentsMost, kTiles - tile);
    float d[16] = {};
#pragma unroll
    for (int i = 0; i < 16; ++i)
      if (i < 4 * fragments) d[i] = sums[4 * tile + i];
    store_quad_part<kType>(p, d, unit, first_token + 8 * tile, fragments, lane);
  }
}

/// Parts are dealt out to the thread blocks of the cluster. By all threads; shared memory is not
/// used for anything else any more.
/// @param row_warp unit of the warp in its thread block. @param owns whether it has one.
template <Dtype kType, int kTiles>
__device__ inline void store_quad_sums_of_all(const QuadRingArguments& p,
                                              const float (&sums)[4 * kTiles], int block_unit,
                                              int first_token, std::uint32_t shared, int rank,
                                              int group, int row_warp, bool owns) {
  constexpr int kFragments = kPartFragmentsMost;
  constexpr int kParts = (kTiles + kFragments - 1) / kFragments;  // of a unit
  const QuadSplit& s = p.split;
  const int ranks = s.ranks, all = ranks * s.groups;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const auto place = [&](int part, int sum, int fragment) {
    return shared +
           static_cast<std::uint32_t>(
               ((part / ranks * all + sum) * kFragments + fragment) * kSumBytes + lane * 16);
  };
  const auto barrier = [&] {
    if (ranks > 1)
      ptx::cluster_barrier();
    else
      __syncthreads();
  };
  barrier();
  if (owns) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const int part = row_warp * kParts + tile / kFragments;
      ptx::store_cluster_16(
          ptx::cluster_address(place(part, rank * s.groups + group, tile % kFragments),
                               static_cast<std::uint32_t>(part % ranks)),
          make_float4(sums[4 * tile], sums[4 * tile + 1], sums[4 * tile + 2], sums[4 * tile + 3]));
    }
  }
  barrier();
#pragma unroll 1
  for (int part = warp * ranks + rank; part < s.units * kParts;
       part += static_cast<int>(blockDim.x / 32) * ranks) {
    const int unit = block_unit + part / kParts;
    if (unit >= p.weight.layout.units()) break;
    const int fragments = min(kFragments, kTiles - part % kParts * kFragments);
    float d[16] = {};
    for (int sum = 0; sum < all; ++sum)
#pragma unroll
      for (int n = 0; n < kFragments; ++n) {
        if (n >= fragments) break;
        const uint4 raw = ptx::load_shared_16(place(part, sum, n));
        d[4 * n] += __uint_as_float(raw.x);
        d[4 * n + 1] += __uint_as_float(raw.y);
        d[4 * n + 2] += __uint_as_float(raw.z);
        d[4 * n + 3] += __uint_as_float(raw.w);
      }
    store_quad_part<kType>(p, d, unit, first_token + 8 * kFragments * (part % kParts), fragments,
                           lane);
  }
}

}  // namespace coppice::cuda
