// Sums of the slices of a row tile, added up in a fixed binary tree over the slices, whichever
// warps and thread blocks have them: first those of a thread block, then those of the cluster.
#pragma once

#include "cuda/kernels/decode_arguments.h"
#include "cuda/kernels/decode_layout.h"
#include "cuda/kernels/decode_multiply.h"
#include "cuda/kernels/epilogue.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/cluster.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda::decode {

__device__ inline float4 load_sums(std::uint32_t shared) {
  const uint4 raw = ptx::load_shared_16(shared);
  return make_float4(__uint_as_float(raw.x), __uint_as_float(raw.y), __uint_as_float(raw.z),
                     __uint_as_float(raw.w));
}
__device__ inline float4 add(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

/// ((0 + 1) + (2 + 3)) + ... of kCount sums, `step` bytes apart.
template <int kCount>
__device__ inline float4 tree_of(std::uint32_t shared, std::uint32_t step) {
  if constexpr (kCount == 1)
    return load_sums(shared);
  else
    return add(tree_of<kCount / 2>(shared, step),
               tree_of<kCount / 2>(shared + kCount / 2 * step, step));
}
__device__ inline float4 tree_sum(std::uint32_t shared, std::uint32_t step, int count) {
  if (count == 8) return tree_of<8>(shared, step);
  if (count == 4) return tree_of<4>(shared, step);
  if (count == 2) return tree_of<2>(shared, step);
  return tree_of<1>(shared, step);
}

template <int kPanels>
__device__ inline void store_sums(const Sums<kPanels>& sums, const DecodeShape& s,
                                  std::uint32_t shared, int slice_warp, int row_warp, int lane) {
#pragma unroll
  for (int u = 0; u < kBlockUnits; ++u)
#pragma unroll
    for (int n = 0; n < kPanels; ++n) {
      const float(&d)[4] = sums.d[u][n];
      ptx::store_shared(shared + sum_offset(s, slice_warp, row_warp, u, n, lane),
                        make_uint4(__float_as_uint(d[0]), __float_as_uint(d[1]),
                                   __float_as_uint(d[2]), __float_as_uint(d[3])));
    }
}

/// 16 rows x 32 tokens (or as many as there are) of a row tile.
struct Part {
  int row_warp, unit, first_panel;
};
template <int kPanels>
__device__ inline Part part_of(int number) {
  constexpr int kOfUnit = kPanels / part_fragments(8 * kPanels);
  return {number / (kBlockUnits * kOfUnit), number / kOfUnit % kBlockUnits,
          number % kOfUnit * part_fragments(8 * kPanels)};
}

/// Fragments of a part in registers, as the epilogue takes them.
template <int kPanels>
struct PartSums {
  static constexpr int kFragments = part_fragments(8 * kPanels);
  float d[16] = {};
  __device__ void set(int n, float4 sum) {
    d[4 * n] = sum.x;
    d[4 * n + 1] = sum.y;
    d[4 * n + 2] = sum.z;
    d[4 * n + 3] = sum.w;
  }
};

/// What a thread block receives from those of its cluster: a barrier counts the bytes. (A barrier
/// of the cluster would have to order all that its threads have written, which takes longer.)
struct Inbox {
  std::uint32_t sums, barrier;  // in shared memory, at the same place in all of them
};
template <int kPanels>
__device__ inline void open_inbox(const DecodeShape& s, std::uint32_t barrier, int rank) {
  if (s.cluster == 1 || threadIdx.x != 0) return;
  const int owned = (part_count(s) - rank + s.cluster - 1) / s.cluster;
  ptx::barrier_init(barrier, 1);
  ptx::fence_barrier_init();
  ptx::barrier_arrive_expect(barrier,
                             owned * s.cluster * PartSums<kPanels>::kFragments * kFragmentBytes);
}

/// Sums over the slices of this thread block, to the thread blocks of the cluster that finish them.
template <int kPanels>
__device__ inline void send_parts(const DecodeShape& s, std::uint32_t sums, const Inbox& inbox,
                                  int rank, int warp, int lane) {
  constexpr int kFragments = PartSums<kPanels>::kFragments;
  const std::uint32_t slice_step = s.row_warps * sum_bytes(8 * kPanels);
  const int parts = part_count(s);
#pragma unroll 1
  for (int number = warp; number < parts; number += s.warps()) {
    const Part part = part_of<kPanels>(number);
    const std::uint32_t from =
        sums + sum_offset(s, 0, part.row_warp, part.unit, part.first_panel, lane);
    const std::uint32_t place = (number / s.cluster * s.cluster + rank) * kFragments;
    const std::uint32_t to =
        ptx::cluster_address(inbox.sums + place * kFragmentBytes + lane * 16, number % s.cluster);
    const std::uint32_t barrier = ptx::cluster_address(inbox.barrier, number % s.cluster);
#pragma unroll
    for (int n = 0; n < kFragments; ++n)
      ptx::store_cluster_16(to + n * kFragmentBytes,
                            tree_sum(from + n * kFragmentBytes, slice_step, s.slice_warps),
                            barrier);
  }
}

/// The same of a warp that has a slice of its own, straight from its registers.
template <int kPanels>
__device__ inline void send_sums(const DecodeShape& s, const Sums<kPanels>& sums,
                                 const Inbox& inbox, int rank, int row_warp, int lane) {
  constexpr int kFragments = PartSums<kPanels>::kFragments;
#pragma unroll
  for (int u = 0; u < kBlockUnits; ++u)
#pragma unroll
    for (int n = 0; n < kPanels; ++n) {
      const int number = (row_warp * kBlockUnits + u) * (kPanels / kFragments) + n / kFragments;
      const std::uint32_t place =
          (number / s.cluster * s.cluster + rank) * kFragments + n % kFragments;
      const float(&d)[4] = sums.d[u][n];
      ptx::store_cluster_16(
          ptx::cluster_address(inbox.sums + place * kFragmentBytes + lane * 16, number % s.cluster),
          make_float4(d[0], d[1], d[2], d[3]),
          ptx::cluster_address(inbox.barrier, number % s.cluster));
    }
}

/// Adds up what is left of the parts that this thread block finishes, and stores them.
template <Dtype kType, int kPanels>
__device__ inline void finish_parts(const DecodeShape& s, const ProductArguments& p,
                                    std::int32_t first_block, std::int32_t first_token,
                                    std::uint32_t sums, std::uint32_t received, int rank, int warp,
                                    int lane) {
  constexpr int kFragments = PartSums<kPanels>::kFragments;
  const bool alone = s.cluster == 1;
  const std::uint32_t step =
      alone ? s.row_warps * sum_bytes(8 * kPanels) : kFragments * kFragmentBytes;
  const int parts = part_count(s);
#pragma unroll 1
  for (int own = warp; own * s.cluster + rank < parts; own += s.warps()) {
    const Part part = part_of<kPanels>(own * s.cluster + rank);
    const std::int32_t block = first_block + part.row_warp;
    if (block >= p.block_count) continue;
    const std::uint32_t from =
        alone ? sums + sum_offset(s, 0, part.row_warp, part.unit, part.first_panel, lane)
              : received + own * s.cluster * kFragments * kFragmentBytes + lane * 16;
    PartSums<kPanels> total;
#pragma unroll
    for (int n = 0; n < kFragments; ++n)
      total.set(n, tree_sum(from + n * kFragmentBytes, step, alone ? s.slice_warps : s.cluster));
    const std::int32_t first = first_token + 8 * part.first_panel;
    UnitOutput out = unit_output<kType>(p, block * kBlockUnits + part.unit, first, lane);
    out.tokens = min(out.tokens, first + 8 * kFragments);  // the epilogue takes 32 tokens
    store_part<kType>(p.epilogue, out, total.d, first, lane);
  }
}

/// From the sums of all warps to y. Shared memory is free for them. `barrier`: of open_inbox.
template <Dtype kType, int kPanels>
__device__ inline void reduce_and_store(const DecodeShape& s, const ProductArguments& p,
                                        const Sums<kPanels>& mine, std::int32_t first_block,
                                        std::int32_t first_token, std::uint32_t shared,
                                        std::uint32_t barrier, int rank, int warp, int lane) {
  const int row_warp = warp % s.row_warps, slice_warp = warp / s.row_warps;
  const std::uint32_t received = shared + kept_sum_bytes(s);
  if (keeps_sums(s)) store_sums<kPanels>(mine, s, shared, slice_warp, row_warp, lane);
  __syncthreads();
#if __CUDA_ARCH__ >= 900
  if (s.cluster > 1) {
    ptx::cluster_barrier_relaxed();  // the other thread blocks no longer read activations
    const Inbox inbox{received, barrier};
    if (keeps_sums(s))
      send_parts<kPanels>(s, shared, inbox, rank, warp, lane);
    else
      send_sums<kPanels>(s, mine, inbox, rank, row_warp, lane);
    ptx::barrier_wait(barrier, 0);
  }
#endif
  finish_parts<kType, kPanels>(s, p, first_block, first_token, shared, received, rank, warp, lane);
}

}  // namespace coppice::cuda::decode
