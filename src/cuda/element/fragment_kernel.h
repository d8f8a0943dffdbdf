// Products on tensor cores: weights stream through once, straight from memory to registers, and
// become dense fragments of mma there (fragment_expand.h, fragment_gather.h), for up to 64 tokens.
//
// y [tokens, rows] = w x: a warp has 32 rows and all tokens of the tile, a thread block up to 8
// warps and the steps of its rank, whose activations come into shared memory by asynchronous copies
// some steps ahead. Sums are in the order of the steps, then of the ranks: they depend on the
// weight and the device alone.
#pragma once

#include "cuda/element/fragment_expand.h"
#include "cuda/element/fragment_gather.h"
#include "cuda/element/fragment_stage.h"
#include "cuda/element/fragment_sums.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda {

template <FragmentForm kForm, Dtype kType, int kTiles>
struct FragmentRows {
  using type = ExpandedRows<kForm, kFragmentUnits, kTiles <= 2 ? 2 : 4>;
};
template <FragmentForm kForm, Dtype kType, int kTiles>
requires(kForm.gathers()) struct FragmentRows<kForm, kType, kTiles> {
  using type = GatheredRows<kForm, kType, kTiles>;
};

/// The activations of a step; a multiple of 32 columns of all steps that are gathered from, so that
/// all lie in the same order.
template <FragmentForm kForm>
__device__ inline Stage stage_of_step(const FragmentArguments& p, int step, int first_token) {
  if constexpr (kForm.gathers())
    return {p.weight.chunks[step].first, p.split.columns, first_token};
  else
    return {step * kForm.step_columns(), kForm.step_columns(), first_token};
}

/// kFormNumber: of kFragmentForms; kTiles: times 8 tokens.
template <int kFormNumber, Dtype kType, int kTiles>
__global__ void __launch_bounds__(32 * kFragmentWarps, fragment_residents(8 * kTiles))
    fragment_kernel(const __grid_constant__ FragmentArguments p) {
  constexpr FragmentForm kForm = kFragmentForms[kFormNumber];
  constexpr int kTokens = 8 * kTiles;
  constexpr bool kGathers = kForm.gathers();
  constexpr int kStride = fragment_stride(kForm, kForm.step_columns());
  extern __shared__ __align__(128) std::byte fragment_shared[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = blockIdx.x % p.split.ranks, tile = blockIdx.x / p.split.ranks;
  const int first_token = blockIdx.y * kTokens;
  const int block_unit = tile * p.split.block_units(), unit = block_unit + warp * kFragmentUnits;
  const bool here = unit < p.weight.layout.units();
  const int all = (p.weight.layout.pieces + kForm.pieces() - 1) / kForm.pieces();
  const int first = rank * p.split.rank_steps, end = min(first + p.split.rank_steps, all);
  const int columns = kGathers ? p.split.columns : kForm.step_columns();
  const int stride = kGathers ? fragment_stride(kForm, columns) : kStride;
  const FragmentPlaces at = mma_places(kForm, kTokens, columns, p.tall);

  ptx::let_next_kernel_begin();
  // Weights do not come from the kernel before: they are on their way while it ends.
  typename FragmentRows<kForm, kType, kTiles>::type rows(p.weight, unit, first, end, lane,
                                                         fragment_shared);
  if (here) rows.load_first();
  if constexpr (!kGathers) fill_table<kForm>(fragment_shared);
  ptx::wait_for_kernels_before();

  std::byte* stages = fragment_shared + kForm.table_bytes();
  const auto stage = [&](int step, int slot) {
    if (step < end)
      stage_step<kForm, kType, kTokens>(p, stage_of_step<kForm>(p, step, first_token),
                                        stages + slot * at.stage_bytes, stride);
    ptx::copy_async_commit();
  };
#pragma unroll 1
  for (int s = 0; s + 1 < at.stages; ++s) stage(first + s, s);
  float sums[kFragmentUnits][kTiles][4] = {};
  int slot = 0, free_slot = at.stages - 1;
#pragma unroll 1
  for (int step = first; step < end; ++step) {
    wait_for_stage(at.stages);
    __syncthreads();  // this step's activations are here, and those of the one before done with
    stage(step + at.stages - 1, free_slot);
    const std::byte* x = stages + slot * at.stage_bytes;
    if (p.tall != kGathers) {
      std::byte* turned = fragment_shared + at.turned;
      turn_step<kForm, kTokens>(ptx::shared_address(x), ptx::shared_address(turned), stride,
                                columns);
      x = turned;
      __syncthreads();
    }
    if constexpr (kGathers) {
      if (here)
        rows.multiply(ptx::shared_address(x), static_cast<std::uint32_t>(fragment_panel(columns)),
                      p.weight.chunks[step].first, sums);
    } else if (here) {
      const int token = lane / kElementLanes, t = lane % kElementLanes;
      x += token * kStride + (kForm.group == 8 ? token_octet<kForm>(token, t) : 2 * t) * 16;
      multiply_step<kForm, kType, kStride, kTiles>(rows, x, sums);
    }
    slot = slot + 1 == at.stages ? 0 : slot + 1;
    free_slot = free_slot + 1 == at.stages ? 0 : free_slot + 1;
  }
#if __CUDA_ARCH__ >= 900
  if (p.split.ranks > 1)
    return store_cluster_sums<kType>(p, sums, block_unit, first_token,
                                     ptx::shared_address(fragment_shared), rank, warp, lane);
#endif
  if (here) store_own_sums<kType>(p, sums, unit, first_token, lane);
}

}  // namespace coppice::cuda
