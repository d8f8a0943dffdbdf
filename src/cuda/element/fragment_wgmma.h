// The fragment kernels of sm_90a for weights that are expanded: as in fragment_kernel.h, but a warp
// has 16 rows, four of them multiply by warpgroup instructions, which read the activations from
// shared memory by themselves, for 64 rows at once, while the next fragments are made.
//
// Activations of a step lie in blocks of a group of each of the four lanes, in the order of k: core
// matrices of 8 tokens x 8 k, 128 bytes, a token's k together; of a panel of 8 tokens block after
// block. A core matrix has places 2c and 2c + 1 of the four groups, for which lane t's registers
// hold the weights. (Core matrices with a column's tokens together need no turning over of
// feature-major activations, but the products take up to three times as long.)
#pragma once

#include "cuda/element/fragment_expand.h"
#include "cuda/element/fragment_stage.h"
#include "cuda/element/fragment_sums.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/dense_wgmma.h"
#include "cuda/ptx/launch.h"
#include "cuda/ptx/wgmma.h"

namespace coppice::cuda {

inline constexpr int kCoreMatrix = 128;  // bytes

/// Tokens [kTokens][kStride bytes] to core matrices.
template <FragmentForm kForm, int kTokens, int kStride>
__device__ inline void cores_of_tokens(std::uint32_t from, std::uint32_t to) {
  constexpr int kOfGroup = kForm.group / 8, kBlock = kElementLanes * kForm.group;  // columns
  constexpr int kBlocks = kForm.step_columns() / kBlock;
  const int lane = threadIdx.x % 32, warps = static_cast<int>(blockDim.x / 32);
  const int row = lane / 4, t = lane % 4;  // a warp: 8 tokens, an octet of each lane's group
  for (int p = 0; p < kTokens / 8; ++p) {
    for (int i = static_cast<int>(threadIdx.x / 32); i < kBlocks; i += warps) {
#pragma unroll
      for (int eight = 0; eight < kOfGroup; ++eight) {
        const uint4 raw = ptx::load_shared_16(
            from + static_cast<std::uint32_t>((8 * p + row) * kStride + i * kBlock * 2 +
                                              token_octet<kForm>(row, t * kOfGroup + eight) * 16));
        const std::uint32_t out =
            to + static_cast<std::uint32_t>((p * kBlocks + i) * kBlock * 16 +
                                            4 * eight * kCoreMatrix + row * 16 + t * 4);
        ptx::store_shared(out, raw.x);
        ptx::store_shared(out + kCoreMatrix, raw.y);
        ptx::store_shared(out + 2 * kCoreMatrix, raw.z);
        ptx::store_shared(out + 3 * kCoreMatrix, raw.w);
      }
    }
  }
}

/// v[i] becomes v[(i + by) % 4].
__device__ inline void rotate_four(std::uint32_t (&v)[4], int by) {
  const std::uint32_t w[4] = {by & 1 ? v[1] : v[0], by & 1 ? v[2] : v[1], by & 1 ? v[3] : v[2],
                              by & 1 ? v[0] : v[3]};
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = by & 2 ? w[(i + 2) % 4] : w[i];
}

/// Panels of 8 tokens, a column's together, to core matrices.
template <FragmentForm kForm, int kTokens>
__device__ inline void cores_of_panels(std::uint32_t from, std::uint32_t to) {
  constexpr int kOfGroup = kForm.group / 8, kBlock = kElementLanes * kForm.group;  // columns
  constexpr int kBlocks = kForm.step_columns() / kBlock;
  constexpr int kPanel = fragment_panel(kForm.step_columns());
  const int lane = threadIdx.x % 32, warps = static_cast<int>(blockDim.x / 32);
  const int row = lane / 4, pair = lane % 4;
  for (int p = 0; p < kTokens / 8; ++p) {
    for (int i = static_cast<int>(threadIdx.x / 32); i < kBlocks; i += warps) {
#pragma unroll
      for (int eight = 0; eight < kOfGroup; ++eight) {
        std::uint32_t x[4];  // a pair of columns of a token, of lane t's group
        ptx::load_matrix_4_transposed(
            x, from + static_cast<std::uint32_t>(
                          p * kPanel +
                          (i * kBlock + lane / 8 * kForm.group + 8 * eight + lane % 8) * 16));
        rotate_four(x, pair);  // so that lanes write to different banks
#pragma unroll
        for (int m = 0; m < 4; ++m)
          ptx::store_shared(to + static_cast<std::uint32_t>((p * kBlocks + i) * kBlock * 16 +
                                                            (4 * eight + pair) * kCoreMatrix +
                                                            row * 16 + (m + pair) % 4 * 4),
                            x[m]);
      }
    }
  }
}

/// Adds the products of a step. All of them are done at the end.
template <FragmentForm kForm, Dtype kType, int kCount, int kAhead>
__device__ inline void multiply_step_wgmma(ExpandedRows<kForm, 1, kAhead>& rows, std::uint32_t x,
                                           float (&sums)[kCount]) {
  constexpr int kOfGroup = kForm.group / 4;          // products
  constexpr int kGroups = kForm.group == 8 ? 2 : 1;  // made before they are multiplied
  constexpr int kProducts = kGroups * kOfGroup;
  constexpr std::uint32_t kHigh =
      ptx::descriptor_high(kForm.step_columns() * 16, ptx::Swizzle::none);
  const std::uint32_t low = ptx::descriptor_low(x, kCoreMatrix);
  // Registers of products under way must not change: two sets, in turn.
  std::uint32_t a[2][kProducts][4];
  const auto keep = [&](int set) {
#pragma unroll
    for (int i = 0; i < kProducts; ++i) ptx::keep_values(a[set][i]);
  };
  rows.step([&]<int kGroup>(const typename ExpandedRows<kForm, 1, kAhead>::Dense& dense) {
    constexpr int kSet = kGroup / kGroups % 2, kFirst = kGroup % kGroups * kOfGroup;
#pragma unroll
    for (int i = 0; i < kOfGroup; ++i) {
      a[kSet][kFirst + i][0] = dense[0][2 * i];
      a[kSet][kFirst + i][1] = dense[1][2 * i];
      a[kSet][kFirst + i][2] = dense[0][2 * i + 1];
      a[kSet][kFirst + i][3] = dense[1][2 * i + 1];
    }
    if constexpr (kGroup % kGroups == kGroups - 1) {
      keep(kSet);
      ptx::wgmma_fence();
#pragma unroll
      for (int i = 0; i < kProducts; ++i)
        ptx::dense_wgmma<kType, 0>(
            sums, a[kSet][i],
            ptx::matrix_descriptor(
                low + ((kGroup / kGroups * kProducts + i) * 2 * kCoreMatrix) / 16, kHigh));
      ptx::wgmma_commit();
      if constexpr (kGroup >= kGroups) {
        ptx::wgmma_wait<1>();
        keep(1 - kSet);
      }
    }
  });
  ptx::wgmma_wait<0>();
  keep(0);
  keep(1);
  ptx::keep_order(sums);
}

/// kFormNumber: of kFragmentForms, not one that gathers; kTiles: times 8 tokens.
template <int kFormNumber, Dtype kType, int kTiles>
__global__ void __launch_bounds__(32 * kWgmmaWarps, 1)
    fragment_wgmma_kernel(const __grid_constant__ FragmentArguments p) {
  constexpr FragmentForm kForm = kFragmentForms[kFormNumber];
  constexpr int kTokens = 8 * kTiles, kStride = fragment_stride(kForm, kForm.step_columns());
  extern __shared__ __align__(128) std::byte fragment_shared[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = blockIdx.x % p.split.ranks, tile = blockIdx.x / p.split.ranks;
  const int first_token = blockIdx.y * kTokens;
  const int block_unit = tile * p.split.warps, unit = block_unit + warp;
  // Of a warpgroup all warps or none.
  const bool here = block_unit + warp / 4 * 4 < p.weight.layout.units();
  const int all = (p.weight.layout.pieces + kForm.pieces() - 1) / kForm.pieces();
  const int first = rank * p.split.rank_steps, end = min(first + p.split.rank_steps, all);
  const FragmentPlaces at = wgmma_places(kForm, kTokens, p.tall);

  ptx::let_next_kernel_begin();
  // Weights do not come from the kernel before: they are on their way while it ends.
  ExpandedRows<kForm, 1, 4> rows(p.weight, unit, first, end, lane, fragment_shared);
  if (here) rows.load_first();
  fill_table<kForm>(fragment_shared);
  ptx::wait_for_kernels_before();

  const std::uint32_t shared = ptx::shared_address(fragment_shared);
  const auto stage = [&](int step, int slot) {
    if (step < end)
      stage_step<kForm, kType, kTokens>(
          p, {step * kForm.step_columns(), kForm.step_columns(), first_token},
          fragment_shared + kForm.table_bytes() + slot * at.stage_bytes, kStride);
    ptx::copy_async_commit();
  };
#pragma unroll 1
  for (int s = 0; s + 1 < at.stages; ++s) stage(first + s, s);
  float sums[4 * kTiles] = {};
  int slot = 0, free_slot = at.stages - 1;
#pragma unroll 1
  for (int step = first; step < end; ++step) {
    wait_for_stage(at.stages);
    __syncthreads();  // this step's activations are here, and those of the one before done with
    stage(step + at.stages - 1, free_slot);
    const std::uint32_t x = shared + kForm.table_bytes() + slot * at.stage_bytes;
    if (p.tall)
      cores_of_panels<kForm, kTokens>(x, shared + at.turned);
    else
      cores_of_tokens<kForm, kTokens, kStride>(x, shared + at.turned);
    ptx::fence_async_proxy();
    __syncthreads();
    if (here) multiply_step_wgmma<kForm, kType>(rows, shared + at.turned, sums);
    slot = slot + 1 == at.stages ? 0 : slot + 1;
    free_slot = free_slot + 1 == at.stages ? 0 : free_slot + 1;
  }
  const auto& own = reinterpret_cast<const float(&)[1][kTiles][4]>(sums);
  if (p.split.ranks > 1)
    store_cluster_sums<kType>(p, own, block_unit, first_token, shared, rank, warp, lane);
  else if (here)
    store_own_sums<kType>(p, own, unit, first_token, lane);
}

}  // namespace coppice::cuda
