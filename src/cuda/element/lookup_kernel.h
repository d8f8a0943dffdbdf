// Products by look-ups: every kept weight is multiplied on CUDA cores by the activations that its
// choice names, which lie in shared memory. For few tokens: weights stream through once, 16 bytes a
// lane at a time, the next chunk of a row while one is worked on, and what they need beside that is
// about six instructions a value.
//
// y [tokens, rows] = w x: a thread block has `split.units` units of 16 rows, 1 to 4 tokens, and of
// the chunks those of its rank; its warps are `row_warps` x `chunk_warps`. Look-ups: lanes of the
// same t name columns of one group, those of another t of the next: without conflicts up to M = 8
// (32 columns side by side), about two cycles at M = 16. All sums are in an order that depends on
// the weight and the device alone. Shared memory: sums [chunk_warps][16 * units][tokens], then the
// activations of a pass.
#pragma once

#include "cuda/element/rank_sums.h"
#include "cuda/element/stage.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda {

/// What a warp does, item by item: passes, in each its parts (units, or with kParts = 2 halves of 8
/// rows), of each its chunks.
template <int kParts>
struct LookupWalk {
  int first_part, end_part, part_step;  // of this warp
  int chunk, end_chunk;                 // of the rank, from the current pass on
  int pass_chunks, warp_chunks, chunk_warp;
  int part, now, end;  // where it is

  __device__ LookupWalk(const ElementArguments& p, int rank, int tile, int warp) {
    const ElementSplit& s = p.split;
    const int row_warp = warp / s.chunk_warps;
    first_part = tile * s.units * kParts + row_warp;
    end_part = min((tile + 1) * s.units, p.weight.layout.units()) * kParts;
    part_step = s.row_warps;
    chunk = rank * s.rank_chunks;
    end_chunk = min(chunk + s.rank_chunks, p.weight.chunk_count);
    pass_chunks = s.pass_chunks;
    warp_chunks = (s.pass_chunks + s.chunk_warps - 1) / s.chunk_warps;
    chunk_warp = warp % s.chunk_warps;
    begin_pass();
  }
  __device__ int pass_end() const { return min(chunk + pass_chunks, end_chunk); }
  __device__ int first_chunk() const { return min(chunk + chunk_warp * warp_chunks, pass_end()); }
  __device__ void begin_pass() {
    part = first_part, now = first_chunk();
    end = min(now + warp_chunks, pass_end());
  }
  /// Whether there is an item in this pass.
  __device__ bool here() const { return part < end_part && now < end; }
  __device__ bool last_of_part() const { return now + 1 == end; }
  __device__ void next() {
    if (++now < end) return;
    now = first_chunk();
    part += part_step;
  }
  /// Goes to the next pass; false if there is none.
  __device__ bool next_pass() {
    chunk += pass_chunks;
    begin_pass();
    return chunk < end_chunk;
  }
};

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
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x))
    sums[i] = 0;
}

template <int kForm, Dtype kType, int kTokens>
__global__ void __launch_bounds__(256, 2) lookup_kernel(const ElementArguments p) {
  constexpr LookupConfig kConfig{kLookupForms[kForm], kType, kTokens};
  extern __shared__ uint4 lookup_shared[];
  const ElementSplit& s = p.split;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = blockIdx.x % s.ranks, tile = blockIdx.x / s.ranks;
  const int first_token = blockIdx.y * kTokens, rows = kUnitRows * s.units;
  auto* sums = reinterpret_cast<float*>(lookup_shared);
  auto* x = reinterpret_cast<std::byte*>(sums + s.chunk_warps * rows * kTokens);

  ptx::let_next_kernel_begin();
  constexpr int kHalves = kConfig.halves();
  LookupWalk<2 / kHalves> walk(p, rank, tile, warp);
  LookupRows<kConfig> item, next;
  // Weights do not come from the kernel before: they are on their way while it ends.
  if (walk.here()) next.load(p.weight, walk.part, walk.now, lane);
  clear_sums(sums, s.chunk_warps * rows * kTokens);
  ptx::wait_for_kernels_before();

  float sum[kHalves][kTokens] = {};
  bool more = walk.chunk < walk.end_chunk;
  while (more) {
    const ChunkColumns columns{p.weight.chunks[walk.chunk].first,
                               p.weight.chunks[walk.pass_end() - 1].last};
    __syncthreads();
    stage_activations<kConfig>(p, columns, first_token, x);
    __syncthreads();
    const std::byte* column_0 = x - columns.first * kConfig.column_bytes();
    while (walk.here()) {
      item = next;
      const int half_unit = walk.part * kHalves, chunk = walk.now;
      const bool last = walk.last_of_part();
      walk.next();
      if (walk.here()) next.load(p.weight, walk.part, walk.now, lane);
      item.multiply(p.weight, column_0, chunk, lane % kElementLanes, sum);
      if (!last) continue;
#pragma unroll
      for (int h = 0; h < kHalves; ++h)
        keep_sums<kTokens>(
            sum[h],
            sums + (warp % s.chunk_warps * rows + (half_unit + h) * 8 - tile * rows) * kTokens,
            lane);
    }
    more = walk.next_pass();
    if (more && walk.here()) next.load(p.weight, walk.part, walk.now, lane);
  }
  store_sums<kConfig.type, kTokens>(p, sums, s.chunk_warps, tile * rows, rows, first_token, rank);
}

}  // namespace coppice::cuda
