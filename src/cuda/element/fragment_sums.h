// The end of a thread block of a fragment product: sums of the ranks of its cluster in ascending
// order, then the epilogue, all in the fragment order of mma (kernels/epilogue.h).
#pragma once

#include "cuda/element/fragment_arguments.h"
#include "cuda/kernels/epilogue.h"
#include "cuda/ptx/cluster.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda {

inline constexpr int kSumBytes = 512;  // of a warp's 16 rows x 8 tokens

template <Dtype kType>
__device__ inline UnitOutput fragment_output(const ElementProduct& p, int unit, int first_token,
                                             int tokens, int lane) {
  const EpilogueArguments& e = p.epilogue;
  UnitOutput out{{}, min(p.tokens, first_token + tokens), first_token, {0, 0}};
  out.unit.row = unit * kUnitRows;
  out.unit.rows = max(0, min(kUnitRows, p.weight.layout.rows - out.unit.row));
  if (e.bias == nullptr) return out;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = lane / 4 + 8 * h;
    if (r < out.unit.rows)
      out.bias[h] = e.f32_bias ? static_cast<const float*>(e.bias)[out.unit.row + r]
                               : load_element<kType>(e.bias, out.unit.row + r);
  }
  return out;
}

/// A part: 16 rows x kFragments * 8 tokens, what the epilogue takes at a time.
template <int kTiles>
inline constexpr int kPartFragments = kTiles < 4 ? kTiles : 4;

template <Dtype kType, int kUnits, int kTiles>
__device__ inline void store_own_sums(const FragmentArguments& p,
                                      const float (&sums)[kUnits][kTiles][4], int unit,
                                      int first_token, int lane) {
  constexpr int kFragments = kPartFragments<kTiles>;
#pragma unroll
  for (int u = 0; u < kUnits; ++u)
#pragma unroll
    for (int part = 0; part < kTiles / kFragments; ++part) {
      float d[16] = {};
#pragma unroll
      for (int i = 0; i < 4 * kFragments; ++i) d[i] = sums[u][part * kFragments + i / 4][i % 4];
      const int first = first_token + 8 * kFragments * part;
      const UnitOutput out = fragment_output<kType>(p, unit + u, first, 8 * kFragments, lane);
      store_part<kType>(p.epilogue, out, d, first, lane);
    }
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
/// Parts are dealt out to the thread blocks of the cluster, which get the sums of all of them.
template <Dtype kType, int kUnits, int kTiles>
__device__ inline void store_cluster_sums(const FragmentArguments& p,
                                          const float (&sums)[kUnits][kTiles][4], int block_unit,
                                          int first_token, std::uint32_t shared, int rank, int warp,
                                          int lane) {
  constexpr int kFragments = kPartFragments<kTiles>, kParts = kTiles / kFragments;  // of a unit
  const int ranks = p.split.ranks;
  ptx::cluster_barrier();  // the others do not need their shared memory any more
#pragma unroll
  for (int u = 0; u < kUnits; ++u)
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const int part = (warp * kUnits + u) * kParts + tile / kFragments;
      const int place = (part / ranks * ranks + rank) * kFragments + tile % kFragments;
      const float(&d)[4] = sums[u][tile];
      ptx::store_cluster_16(
          ptx::cluster_address(shared + static_cast<std::uint32_t>(place * kSumBytes + lane * 16),
                               static_cast<std::uint32_t>(part % ranks)),
          make_float4(d[0], d[1], d[2], d[3]));
    }
  ptx::cluster_barrier();
  const int parts = p.split.block_units() * kParts;
#pragma unroll 1
  for (int own = warp; own * ranks + rank < parts; own += p.split.warps) {
    const int part = own * ranks + rank;
    float d[16] = {};
    for (int r = 0; r < ranks; ++r)
#pragma unroll
      for (int n = 0; n < kFragments; ++n) {
        const int place = (own * ranks + r) * kFragments + n;
        const uint4 raw =
            ptx::load_shared_16(shared + static_cast<std::uint32_t>(place * kSumBytes + lane * 16));
        d[4 * n] += __uint_as_float(raw.x);
        d[4 * n + 1] += __uint_as_float(raw.y);
        d[4 * n + 2] += __uint_as_float(raw.z);
        d[4 * n + 3] += __uint_as_float(raw.w);
      }
    const int first = first_token + 8 * kFragments * (part % kParts);
    const UnitOutput out =
        fragment_output<kType>(p, block_unit + part / kParts, first, 8 * kFragments, lane);
    store_part<kType>(p.epilogue, out, d, first, lane);
  }
}
#endif

}  // namespace coppice::cuda
