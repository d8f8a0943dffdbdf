// The decode kernels: y = act(alpha * W x + bias) for a few tokens, bound by the bytes of W.
//
// A thread block of 8 warps multiplies some blocks of 64 rows, each cut along the columns into
// slices: a warp has one block and one slice (decode_shape.h). Weights go from memory straight to
// registers in the order of mma.sp (decode_layout.h), up to two records of 4.5 KB ahead: no shared
// memory, no barriers, and with 8 to 16 warps 37 to 147 KB under way on a multiprocessor.
// Activations are staged in shared memory (decode_stage.h), all of a slice at once or chunk by
// chunk; columns alive are looked up there by ldmatrix's row addresses. Sums of the slices meet in
// a fixed tree (decode_reduce.h), through shared memory and that of the cluster's thread blocks.
//
// On sm_90 kernels overlap (programmatic dependent launch): what was launched before is waited for
// only after the first records are asked for, so activations and y are safe, and weights must not
// be rewritten by a kernel that a decode kernel may overlap (pack.cu).
#pragma once

#include "cuda/kernels/decode_multiply.h"
#include "cuda/kernels/decode_reduce.h"
#include "cuda/kernels/decode_stage.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda::decode {

template <int kTokens, Dtype kType, int kLists>
__global__ void __launch_bounds__(32 * kWarps, decode_residents(kTokens))
    decode_kernel(const __grid_constant__ DecodeArguments a) {
  constexpr int kPanels = kTokens / 8;
  extern __shared__ __align__(128) std::byte memory[];
  __shared__ std::uint64_t inbox;
  const std::uint32_t shared = ptx::shared_address(memory);
  const DecodeShape& s = a.shape;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row_warp = warp % s.row_warps, slice_warp = warp / s.row_warps;
  const int tile = blockIdx.x / s.cluster, rank = blockIdx.x % s.cluster;
  int number = 0;
  while (number + 1 < a.weights && tile >= a.first_tile[number + 1]) ++number;
  const ProductArguments& p = a.product[number];
  const std::int32_t first_block = (tile - a.first_tile[number]) * s.row_warps;
  const std::int32_t first_token = blockIdx.y * kTokens;

  const int slice = rank * s.slice_warps + slice_warp;
  int step = slice_begin(p.steps, slice, s.slices());
  int end = slice_begin(p.steps, slice + 1, s.slices());
  if (first_block + row_warp >= p.block_count) end = step;
  RecordWalk<kLists> walk(p, min(first_block + row_warp, p.block_count - 1), step, lane);
  constexpr bool kTwoAhead = kTokens == 8 || kTokens == 32;  // elsewhere registers are short
  Record<kLists> even, odd;                                  // the next two records
  if (step < end) walk.load(even);
  if (kTwoAhead && step + 1 < end) walk.load(odd);
  ptx::let_next_kernel_begin();
  ptx::wait_for_kernels_before();

#if __CUDA_ARCH__ >= 900
  open_inbox<kPanels>(s, ptx::shared_address(&inbox), rank);
#endif
  Sums<kPanels> sums{};
  const int most_steps = (p.steps + s.slices() - 1) / s.slices();
  const PanelPlace at{shared, static_cast<std::uint32_t>(a.panel)};
  const std::uint32_t step_columns = a.shared_window ? 0 : kStepQuads * p.columns.group;
#pragma unroll 1
  for (int chunk = 0; chunk == 0 || chunk * s.chunk_steps < most_steps; ++chunk) {
    if (chunk > 0) __syncthreads();
    stage_chunk<kPanels>(a, p, chunk, first_token, shared, rank);
    __syncthreads();
    const int stop = min(end, step + s.chunk_steps);
    std::uint32_t position = a.shared_window ? 0 : slice_warp * a.window;
    const auto multiply = [&](const Record<kLists>& record) {
      multiply_record<kPanels, kType, kLists>(sums, record, p, at, position, lane);
      position += step_columns;
      ++step;
    };
#pragma unroll 1
    while (step < stop) {
      if constexpr (kTwoAhead) {  // chunks are even but for the last of a slice
        multiply(even);
        if (step + 1 < end) walk.load(even);
        if (step == stop) break;
        multiply(odd);
        if (step + 1 < end) walk.load(odd);
      } else {
        const Record<kLists> now = even;
        if (step + 1 < end) walk.load(even);
        multiply(now);
      }
    }
  }

  __syncthreads();
  reduce_and_store<kType, kPanels>(s, p, sums, first_block, first_token, shared,
                                   ptx::shared_address(&inbox), rank, warp, lane);
}

}  // namespace coppice::cuda::decode
