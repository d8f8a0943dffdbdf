// Y = act(alpha W X + bias) + residual for many tokens on the warpgroups of sm_90a: 32-bit weights
// whose vectors share columns in all rows of a tile, by TF32 or three products of it. wgmma wants
// 32-bit operands in shared memory with the summed dimension along their rows. Weights are stored
// so; activations are not, but may come from registers. So the product is turned: Y^T = X^T W^T,
// with activations as A, of which a lane reads what it needs from any rows of shared memory (a
// kilobyte for each column alive, gathered by asynchronous copies), and the weight as B, which the
// copy engine brings rounded for one product (order_values).
//
// Tensor cores add up towards zero: of three products, sums of `group_pieces` pieces start at zero
// and are added to the others by CUDA cores, which round; those of one half of a warpgroup's tokens
// while those of the other half are multiplied. Thread blocks stay; stages go on over tiles.
#pragma once

#include "cuda/blocked/blocked_wgmma_consume.h"
#include "cuda/blocked/blocked_wgmma_output.h"
#include "cuda/blocked/blocked_wgmma_produce.h"

namespace coppice::cuda {

/// Registers of a thread that brings operands, and of one that multiplies: together as many as the
/// thread block begins with, or it would wait for them forever.
template <BlockedShape kShape>
struct WgmmaRegisters {
  static constexpr int kGroups = kShape.threads() / 128;
  static constexpr int kBegin = 512 / kGroups / 8 * 8;
  static constexpr int kProducer = 56;
  static constexpr int kConsumer = (kBegin * kGroups - kProducer * (kGroups - 2)) / 2;
  static_assert(kConsumer % 8 == 0 && kShape.threads() % 128 == 0);
};

template <BlockedShape kShape>
__device__ void multiply_tiles(const BlockedArguments& p, WgmmaRing<kShape>& ring) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int token = warp * kShape.warp_tokens + lane / 4 * 4;
  WgmmaSums<kShape> sums(ring, static_cast<std::uint32_t>(kShape.slot_offset(lane % 4) + token * 4),
                         lane == 0);
#pragma unroll 1
  for (WgmmaTiles tiles(p); !tiles.done(); tiles.next()) {
    tiles.template place<kShape>();
    sums.run(wgmma_steps<kShape>(p));
    const WgmmaOutput<WgmmaSums<kShape>::kCount> out(p, tiles.first_row, tiles.first_token + token,
                                                     lane % 4);
    out.store(sums.sum);
  }
}

/// scripts/gpu_check.sh knows by its name that racecheck cannot follow it.
/// @param values boxes of them (rounded_values_map), for one product.
template <int kNumber>
__global__ void __launch_bounds__(kBlockedShapes[kNumber].threads(), 1)
    blocked_sparse_wgmma_kernel(const __grid_constant__ BlockedArguments p,
                                const __grid_constant__ CUtensorMap values) {
  constexpr BlockedShape kShape = kBlockedShapes[kNumber];
  static_assert(kShape.warps() == 8 && kShape.warp_tokens == 32 && kShape.row_warps == 1);
  extern __shared__ __align__(1024) std::byte blocked_wgmma_shared[];
  WgmmaRing<kShape> ring(blocked_wgmma_shared);
  if (threadIdx.x == 0) ring.init();
  __syncthreads();
  constexpr int kConsumers = 32 * kShape.warps();
  if (threadIdx.x >= kConsumers) {
    ptx::registers_lower<WgmmaRegisters<kShape>::kProducer>();
    const int warp = (static_cast<int>(threadIdx.x) - kConsumers) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (warp < kShape.loaders()) {
      WgmmaLoader<kShape>(p, ring, warp, lane).run();
    } else if constexpr (kShape.boxes()) {
      if (warp == kShape.loaders() && lane == 0) order_values<kShape>(p, values, ring);
    } else {
      WgmmaDivider<kShape>(p, ring, warp - kShape.loaders(), lane).run();
    }
  } else {
    ptx::registers_raise<WgmmaRegisters<kShape>::kConsumer>();
    multiply_tiles<kShape>(p, ring);
  }
}

}  // namespace coppice::cuda
