// A tile whose columns are cut into slices, for products of few tiles: the thread blocks of a
// cluster each multiply some of the steps, and the first of them adds up the sums and stores them.
#pragma once

#include "cuda/kernels/wgmma_pipeline.h"
#include "cuda/ptx/cluster.h"

namespace coppice::cuda {

/// The steps [begin, begin + count) of this thread block; at least one.
struct StepSlice {
  int begin, count;

  template <WgmmaConfig kConfig>
  static __device__ StepSlice of(const ProductArguments& p) {
    if constexpr (kConfig.shape.slices == 1) return {0, p.steps};
    const int rank = static_cast<int>(blockIdx.x) % p.slices;
    const int begin = p.steps * rank / p.slices;
    return {begin, p.steps * (rank + 1) / p.slices - begin};
  }
};

/// Brings the sums of all slices to the first thread block of the cluster, always in the same
/// order. @returns whether this is it. By all consumers, after the only tile of a thread block.
template <WgmmaConfig kConfig, int kBlocks, int kCount>
__device__ inline bool add_slices(const ProductArguments& p, const Pipeline<kConfig>& pipe,
                                  float (&d)[kBlocks][kCount], int thread) {
  constexpr int kVectors = kCount / 4;  // of a block's sums, 16 bytes each
  constexpr std::uint32_t kStride = 128 * kConfig.consumers() * 16;
  constexpr std::uint32_t kSliceBytes = kBlocks * kVectors * kStride;
  using Pipe = Pipeline<kConfig>;
  static_assert((kConfig.shape.slices - 1) * kSliceBytes <= Pipe::kStages * Pipe::kStageBytes);
  const std::uint32_t rank = ptx::cluster_rank();
  const std::uint32_t place = pipe.activations + thread * 16;
  if (rank == 0 && thread == 0)
    ptx::barrier_arrive_expect(pipe.sums, static_cast<std::uint32_t>(p.slices - 1) * kSliceBytes);
  ptx::cluster_barrier_relaxed();  // all stages are multiplied: sums take their place
  if (rank != 0) {
    const std::uint32_t to = ptx::cluster_address(place + (rank - 1) * kSliceBytes, 0);
    const std::uint32_t arrived = ptx::cluster_address(pipe.sums, 0);
#pragma unroll
    for (int i = 0; i < kBlocks * kVectors; ++i) {
      const float* v = d[i / kVectors] + i % kVectors * 4;
      ptx::store_cluster_16(to + i * kStride, make_float4(v[0], v[1], v[2], v[3]), arrived);
    }
    return false;
  }
  ptx::barrier_wait(pipe.sums, 0);
#pragma unroll 1
  for (int slice = 1; slice < p.slices; ++slice)
#pragma unroll
    for (int i = 0; i < kBlocks * kVectors; ++i) {
      const uint4 raw = ptx::load_shared_16(place + (slice - 1) * kSliceBytes + i * kStride);
      float* v = d[i / kVectors] + i % kVectors * 4;
      v[0] += __uint_as_float(raw.x);
      v[1] += __uint_as_float(raw.y);
      v[2] += __uint_as_float(raw.z);
      v[3] += __uint_as_float(raw.w);
    }
  return true;
}

}  // namespace coppice::cuda
