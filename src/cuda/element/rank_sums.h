// The end of a thread block of an element product: sums of its warps, and of the ranks of its
// cluster, each in ascending order, then the epilogue.
#pragma once

#include <cooperative_groups.h>

#include "cuda/element/element_arguments.h"
#include "cuda/element/output.h"

namespace coppice::cuda {

__device__ inline void wait_for_cluster(int ranks) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (ranks > 1) {
    cooperative_groups::this_cluster().sync();
    return;
  }
#endif
  (void)ranks;
  __syncthreads();
}

/// The same place in the shared memory of another rank.
__device__ inline const float* of_rank(const float* sums, int rank, int ranks) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (ranks > 1)
    return cooperative_groups::this_cluster().map_shared_rank(const_cast<float*>(sums), rank);
#endif
  (void)rank, (void)ranks;
  return sums;
}

/// A place among the outputs of a tile.
struct OutputPlace {
  int row, token;
};
/// Number `i` of them: neighbours write what lies together.
template <int kTokens>
__device__ inline OutputPlace output_place(int i, int rows, bool token_major) {
  if (kTokens > 1 && token_major) return {i % rows, i / rows};
  return {i / kTokens, i % kTokens};
}

/// The same of a thread block alone. Short: the next kernel waits for it.
template <Dtype kType, int kTokens, int kStride>
__device__ inline void store_own_sums(const ElementArguments& p, const float* sums, int parts,
                                      int first_row, int end_row, int rows, int first_token) {
  const int part_size = rows * kStride, threads = static_cast<int>(blockDim.x);
  for (int i = static_cast<int>(threadIdx.x); i < rows * kTokens; i += threads) {
    const auto [row, token] = output_place<kTokens>(i, rows, p.epilogue.token_major);
    if (first_row + row >= end_row || first_token + token >= p.tokens) continue;
    const float* theirs = sums + row * kStride + token;
    float sum = 0;
#pragma unroll 4
    for (int part = 0; part < parts; ++part) sum += theirs[part * part_size];
    store_output<kType>(p.epilogue, first_token + token, first_row + row, sum);
  }
}

/// @param sums in shared memory, [parts][rows][kStride]; a part for each warp that has its own
/// chunks. Written before by this thread block alone. They are rows [first_row, end_row), no more
/// than `rows`.
template <Dtype kType, int kTokens, int kStride = kTokens>
__device__ inline void store_sums(const ElementArguments& p, float* sums, int parts, int first_row,
                                  int end_row, int rows, int first_token, int rank) {
  end_row = min(end_row, p.weight.layout.rows);
  const int ranks = p.split.ranks, count = rows * kTokens, part_size = rows * kStride;
  __syncthreads();
  if (ranks == 1) {
    store_own_sums<kType, kTokens, kStride>(p, sums, parts, first_row, end_row, rows, first_token);
    return;
  }
  if (parts > 1)
    for (int i = static_cast<int>(threadIdx.x); i < part_size; i += static_cast<int>(blockDim.x)) {
      float sum = sums[i];
      for (int part = 1; part < parts; ++part) sum += sums[part * part_size + i];
      sums[i] = sum;
    }
  wait_for_cluster(ranks);
  for (int i = static_cast<int>(threadIdx.x) + rank * static_cast<int>(blockDim.x); i < count;
       i += ranks * static_cast<int>(blockDim.x)) {
    const auto [row, token] = output_place<kTokens>(i, rows, p.epilogue.token_major);
    if (first_row + row >= end_row || first_token + token >= p.tokens) continue;
    float sum = 0;
    for (int r = 0; r < ranks; ++r) sum += of_rank(sums, r, ranks)[row * kStride + token];
    store_output<kType>(p.epilogue, first_token + token, first_row + row, sum);
  }
  wait_for_cluster(ranks);  // what others read must not go away
}

}  // namespace coppice::cuda
