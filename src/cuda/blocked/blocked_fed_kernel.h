// Y = act(alpha W X + bias) + residual by CUDA cores as in blocked_kernel.h, of weights whose tiles
// of rows have one list of columns, on devices with warpgroups. A lane has 8 x 16 outputs, so that
// shared memory and the scheduler have little to do beside products: of 134 instructions of a slot
// 128 multiply. That takes registers for two warps a scheduler only, which must not wait and do
// nothing else: other warps bring operands, activations by 16-byte copies (by bulk copies the
// products wait) and values turned through registers, and the multiplying warps have read those of
// a slot when they multiply the one before, also across stages. Sums are the same bits as of
// blocked_kernel.h.
#pragma once

#include "cuda/blocked/blocked_multiply.h"
#include "cuda/blocked/blocked_output.h"
#include "cuda/blocked/blocked_stage.h"

namespace coppice::cuda {

/// Shared memory of a thread block: barriers, then stages of turned values and activations.
template <BlockedShape kShape>
struct BlockedFedStages {
  std::byte* shared;

  __device__ static constexpr int stage_bytes() { return kShape.stage_bytes(1); }
  __device__ std::byte* stage(int number) const {
    return shared + kShape.fixed_bytes(1) + number * stage_bytes();
  }
  /// Barriers of a stage: it has been filled, and it has been read.
  __device__ std::uint32_t filled(int number) const {
    return ptx::shared_address(shared) + static_cast<std::uint32_t>(number * kShape.kBarrier);
  }
  __device__ std::uint32_t read(int number) const { return filled(kShape.stages + number); }
};

/// A stage and the parity of its phase.
template <BlockedShape kShape>
struct BlockedTurn {
  int number = 0;
  std::uint32_t phase = 0;
  __device__ void advance(int steps) {
    number += steps;
    if (number >= kShape.stages) number -= kShape.stages, phase ^= 1;
  }
};

/// A warp that brings operands: of every stage of its turn all.
template <BlockedShape kShape>
class BlockedFeeder {
 public:
  static constexpr int kEvery = kShape.loaders();  // its turns
  static_assert(kShape.stages % kEvery == 0, "a stage has to be of the same warp every time");
  /// Arrivals at a stage's barrier: every lane's copies, and its values. (One lane's arrival for
  /// all is not faster, and racecheck does not follow it.)
  static constexpr int kArrivals = 64;

  __device__ BlockedFeeder(const BlockedArguments& p, int first_row, int first_token, int first,
                           int lane)
      : columns_(p, first_row, lane % kShape.kSlots, first), lane_(lane), pieces_(steps_of(p)) {
    const ElementLayout& l = p.weight.layout;
    half_units_ = min(kShape.half_units(), 2 * l.units() - first_row / 8);
    values_ = p.weight.values + piece_byte(l, first_row / 8, 0, lane);
    load_values(first);
    const int token = first_token + lane * kChunkTokens;
    x_ = ptx::opaque(static_cast<const std::byte*>(p.x) + std::int64_t{token} * 4);
    tokens_ = p.tokens - token;
    whole_ = first_token + kShape.tokens() <= p.tokens;
  }
  __device__ static int steps_of(const BlockedArguments& p) { return p.weight.layout.pieces; }

  __device__ void feed(int step, std::byte* stage, std::uint32_t filled) {
    const std::int64_t offset = columns_.offset();
    columns_.advance(step);
    const std::uint32_t to = ptx::shared_address(stage) + kShape.weight_bytes() +
                             static_cast<std::uint32_t>(lane_) * kChunkTokens * 4;
    whole_ ? copy_rows(offset, to) : copy_parts(offset, to);
#pragma unroll
    for (int i = 0; i < kShape.half_units(); ++i)
      turn_values<kShape>(stage, i, 0, lane_, ahead_[i]);
    load_values(step + kEvery);
    ptx::barrier_arrive_on_copies(filled);
    ptx::barrier_arrive(filled);
  }

 private:
  static constexpr int kChunkTokens = 4, kPartTokens = 32 * kChunkTokens;  // of a copy of the warp
  static constexpr int kParts = kShape.tokens() / kPartTokens;

  /// Asks for the values of a step; rows that do not exist keep zeros.
  __device__ void load_values(int step) {
    if (step >= pieces_) return;
    const std::byte* from = values_ + std::int64_t{step} * kShape.kPieceRows;
#pragma unroll
    for (int i = 0; i < kShape.half_units(); ++i, from += std::int64_t{pieces_} * kShape.kPieceRows)
      if (i < half_units_) ahead_[i] = __ldg(reinterpret_cast<const float4*>(from));
  }
  __device__ void copy_rows(std::int64_t offset, std::uint32_t to) const {
#pragma unroll
    for (int slot = 0; slot < kShape.kSlots; ++slot) {
      const std::byte* from = x_ + __shfl_sync(~0u, offset, slot);
#pragma unroll
      for (int i = 0; i < kParts; ++i)
        ptx::copy_async_16(
            to + static_cast<std::uint32_t>(kShape.slot_offset(slot)) + i * kPartTokens * 4,
            from + i * kPartTokens * 4);
    }
  }
  /// At the end of the tokens. What does not exist is not copied: outputs of such tokens are not
  /// stored.
  __device__ void copy_parts(std::int64_t offset, std::uint32_t to) const {
#pragma unroll 1
    for (int slot = 0; slot < kShape.kSlots; ++slot) {
      const std::byte* from = x_ + __shfl_sync(~0u, offset, slot);
#pragma unroll
      for (int i = 0; i < kParts; ++i) {
        const int left = tokens_ - i * kPartTokens;
        const std::uint32_t part = to + i * kPartTokens * 4;
        ptx::copy_async_16_if(left >= kChunkTokens, part, from + i * kPartTokens * 4);
#pragma unroll 1
        for (int t = 0; left < kChunkTokens && t < left; ++t)
          ptx::copy_async_4(part + static_cast<std::uint32_t>(t) * 4,
                            from + (i * kPartTokens + t) * 4);
      }
      to += static_cast<std::uint32_t>(kShape.slot_offset(1));
    }
  }

  BlockedColumns<kShape, kEvery> columns_;
  int lane_, pieces_, half_units_;
  const std::byte* values_;
  float4 ahead_[kShape.half_units()] = {};
  const std::byte* x_;  // of the lane's first chunk
  int tokens_;          // from there on
  bool whole_;
};

/// The products of a multiplying warp.
template <BlockedShape kShape>
__device__ void multiply_fed(BlockedFma<kShape>& products, const BlockedFedStages<kShape>& stages,
                             int steps, int warp, int lane) {
  using Products = BlockedFma<kShape>;
  const std::byte* base = stages.stage(0);
  const int values_at = Products::values_offset(lane);
  const int activations_at =
      kShape.weight_bytes() + warp * kShape.warp_tokens * 4 + Products::activations_offset(lane);
  BlockedTurn<kShape> turn;
  const std::byte *values = base + values_at, *activations = base + activations_at;
  ptx::barrier_wait(stages.filled(0), 0);
  typename Products::Operands even = Products::load(values, activations, 0), odd;
  for (int step = 0; step < steps; ++step) {
    // Few slots in straight-line code: more of them the compiler mixes, and banks conflict.
#pragma unroll 1
    for (int pair = 0; pair < kShape.kSlots / 2 - 1; ++pair) {
      odd = Products::load(values, activations, 1);
      products.add(even);
      even = Products::load(values, activations, 2);
      products.add(odd);
      values += 2 * kShape.slot_bytes(), activations += kShape.slot_offset(2);
    }
    odd = Products::load(values, activations, 1);
    products.add(even);
    ptx::barrier_arrive(stages.read(turn.number));
    turn.advance(1);
    if (step + 1 == steps) {
      products.add(odd);
      break;
    }
    ptx::barrier_wait(stages.filled(turn.number), turn.phase);
    values = base + turn.number * stages.stage_bytes() + values_at;
    activations = base + turn.number * stages.stage_bytes() + activations_at;
    even = Products::load(values, activations, 0);
    products.add(odd);
  }
}

template <int kNumber>
__global__ void __launch_bounds__(kBlockedShapes[kNumber].threads(),
                                  kBlockedShapes[kNumber].thread_blocks)
    blocked_fed_kernel(const __grid_constant__ BlockedArguments p) {
  constexpr BlockedShape kShape = kBlockedShapes[kNumber];
  static_assert(kShape.fed() && kShape.row_warps == 1 && kShape.slices == 1 &&
                2 * kShape.stages * kShape.kBarrier <= kShape.kBarrierBytes);
  extern __shared__ __align__(128) std::byte blocked_shared[];
  const TilePlace place =
      tile_place(static_cast<std::int32_t>(blockIdx.x), p.row_tiles, p.token_tiles, p.token_group);
  const int first_row = place.row_tile * kShape.rows();
  const int first_token = place.token_tile * kShape.tokens();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  using Feeder = BlockedFeeder<kShape>;
  const int steps = Feeder::steps_of(p);
  const BlockedFedStages<kShape> stages{blocked_shared};
  if (threadIdx.x == 0) {
    for (int i = 0; i < kShape.stages; ++i) {
      ptx::barrier_init(stages.filled(i), Feeder::kArrivals);
      ptx::barrier_init(stages.read(i), 32 * kShape.warps());
    }
  }
  __syncthreads();

  if (warp >= kShape.warps()) {
    ptx::registers_lower<kShape.kFeederRegisters>();
    const int first = warp - kShape.warps();
    if (first >= kShape.loaders()) return;
    Feeder feeder(p, first_row, first_token, first, lane);
    BlockedTurn<kShape> turn{first};
    for (int step = first; step < steps; step += Feeder::kEvery) {
      if (step >= kShape.stages) ptx::barrier_wait(stages.read(turn.number), turn.phase ^ 1);
      feeder.feed(step, stages.stage(turn.number), stages.filled(turn.number));
      turn.advance(Feeder::kEvery);
    }
  } else {
    ptx::registers_raise<kShape.kFedRegisters>();
    BlockedFma<kShape> products;
    products.clear();
    multiply_fed(products, stages, steps, warp, lane);
    ptx::group_barrier<1, 32 * kShape.warps()>();
    auto* sums = reinterpret_cast<float*>(stages.stage(0));
    products.template keep<false>(sums + warp * kShape.warp_tokens, lane);
    ptx::group_barrier<1, 32 * kShape.warps()>();
    store_tile<kShape>(p, sums, first_row, first_token);
  }
}

}  // namespace coppice::cuda
