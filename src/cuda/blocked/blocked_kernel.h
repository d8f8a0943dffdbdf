// Y = act(alpha W X + bias) + residual for many tokens: 32-bit weights whose vectors of 8 rows and
// more share columns (lists of element_layout.h), on CUDA cores and on tensor cores. A thread block
// has one tile of Y. Activations are feature-major, so that a column's tokens follow each other: a
// step's columns alive are gathered as rows of the tile's tokens, and nothing else is read, at any
// sparsity: a vector of 32 rows uses what it gathers 32 times, which L2 delivers (17 of 37 bytes a
// clock and multiprocessor at the full rate of CUDA cores). Values come in pieces as they lie.
// Sums of an output are added up column by column in the order of the list; with slices, by them.
#pragma once

#include "cuda/blocked/blocked_multiply.h"
#include "cuda/blocked/blocked_output.h"
#include "cuda/blocked/blocked_stage.h"
#include "cuda/blocked/blocked_tensor.h"

namespace coppice::cuda {

template <BlockedShape kShape>
struct BlockedProducts {
  using Type = BlockedTensor<kShape>;
};
template <BlockedShape kShape>
requires(kShape.math == BlockedMath::fp32) struct BlockedProducts<kShape> {
  using Type = BlockedFma<kShape>;
};

template <int kNumber>
__global__ void __launch_bounds__(kBlockedShapes[kNumber].threads(),
                                  kBlockedShapes[kNumber].thread_blocks)
    blocked_kernel(const __grid_constant__ BlockedArguments p) {
  constexpr BlockedShape kShape = kBlockedShapes[kNumber];
  extern __shared__ __align__(128) std::byte blocked_shared[];
  constexpr int kStages = kShape.stages;
  constexpr bool kTurns = kShape.turns();
  const TilePlace place =
      tile_place(static_cast<std::int32_t>(blockIdx.x), p.row_tiles, p.token_tiles, p.token_group);
  const int first_row = place.row_tile * kShape.rows();
  const int first_token = place.token_tile * kShape.tokens();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int token_warp = warp % kShape.token_warps;
  const int row_warp = warp / kShape.token_warps % kShape.row_warps;
  const int slice = warp / (kShape.token_warps * kShape.row_warps);

  auto* ring = reinterpret_cast<std::int64_t*>(blocked_shared);
  std::byte* barriers = blocked_shared + kShape.column_bytes(p.lists);
  std::byte* turned = barriers + kShape.kBarrierBytes;
  std::byte* stages = blocked_shared + kShape.fixed_bytes(p.lists);
  const int stage_bytes = kShape.stage_bytes(p.lists);
  const int step_columns = p.lists * kShape.step_slots();
  const int steps = (p.weight.layout.pieces + kShape.step_pieces() - 1) / kShape.step_pieces();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) ptx::barrier_init(ptx::shared_address(barriers + 8 * i), 1);
#if __CUDA_ARCH__ >= 900
    ptx::fence_barrier_init();
#endif
  }

  using Products = typename BlockedProducts<kShape>::Type;
  const int thread = static_cast<int>(threadIdx.x);
  BlockedColumns<kShape> columns(p, first_row, thread);
  // Columns of a step lie in shared memory a step before its activations are asked for.
  const auto advance = [&](int step) {
    if (thread >= step_columns) return;
    ring[step % 2 * step_columns + thread] = columns.offset();
    columns.advance(step);
  };
  BlockedValues<kShape> values(p, first_row);
  const BlockedActivations<kShape> activations(p, first_token);
  const int unit = row_warp * kShape.warp_units;
  const int row = first_row + 8 * (unit + Products::unit(lane));
  const int list = row_vector(p.weight, row) - row_vector(p.weight, first_row);
  const int values_at = Products::values_offset(lane) +
                        (kShape.turns() ? slice * kShape.kSlots * kShape.slot_bytes() + unit * 32
                                        : slice * kShape.kPieceRows + unit * kShape.unit_bytes());
  const int activations_at = kShape.weight_bytes() + list * kShape.list_bytes() +
                             kShape.slot_offset(slice * kShape.kSlots) +
                             token_warp * kShape.warp_tokens * 4 +
                             Products::activations_offset(lane);

  const auto copy = [&](int step) {
    if (step < steps) {
      const int number = step % kStages;
      const std::uint32_t to = ptx::shared_address(stages + number * stage_bytes);
      if constexpr (!kTurns) values.copy(step, to);
      activations.copy(ring + step % 2 * step_columns, to + kShape.weight_bytes(),
                       ptx::shared_address(barriers + 8 * number));
    }
    ptx::copy_async_commit();
  };
  if constexpr (kTurns) {
    values.load(0);
    values.store_turned(turned);
    values.load(1);
  }
  for (int step = 0; step < kStages - 1; ++step) {
    advance(step);
    __syncthreads();
    copy(step);
  }
  advance(kStages - 1);
  Products products;
  products.clear();
  for (int step = 0; step < steps; ++step) {
    ptx::copy_async_wait<kStages - 2>();
    if (activations.whole)
      ptx::barrier_wait(ptx::shared_address(barriers + step % kStages * 8), step / kStages % 2);
    __syncthreads();
    copy(step + kStages - 1);
    advance(step + kStages);
    const std::byte* from = stages + step % kStages * stage_bytes;
    const std::byte* own_values = from;
    if constexpr (kTurns) {
      values.store_turned(turned + (step + 1) % 2 * kShape.turned_bytes());
      values.load(step + 2);
      own_values = turned + step % 2 * kShape.turned_bytes();
    }
    if (kShape.slices == 1 || step * kShape.slices + slice < p.weight.layout.pieces)
      products.multiply(own_values + values_at, from + activations_at);
  }
  ptx::copy_async_wait_all();
  auto* sums = reinterpret_cast<float*>(stages);
  float* own = sums + 8 * unit * kShape.sum_stride() + token_warp * kShape.warp_tokens;
  for (int s = 0; s < kShape.slices; ++s) {
    __syncthreads();
    if (s != slice) continue;
    if (s == 0)
      products.template keep<false>(own, lane);
    else
      products.template keep<true>(own, lane);
  }
  __syncthreads();
  store_tile<kShape>(p, sums, first_row, first_token);
}

}  // namespace coppice::cuda
