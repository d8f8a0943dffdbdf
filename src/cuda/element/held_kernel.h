// Fragments for up to 16 tokens with activations in registers, sm_90: weights stream through once,
// by rings in shared memory (held_ring.h) that are full before the kernels in front have ended, and
// become dense fragments of mma in registers (fragment_dense.h).
//
// y [tokens, rows] = w x: a warp has 8 KB of the activations, a slice of columns, as fragments, and
// meets them with every unit of the rows of its thread block; warps divide the columns, then
// passes and the ranks of a cluster. So shared memory is for weights alone and nothing is staged:
// a warp waits for its own slots, and once a unit for the sums of others. Two thread blocks find
// room on a multiprocessor, one of this kernel and one of the next.
#pragma once

#include <utility>

#include "cuda/element/fragment_dense.h"
#include "cuda/element/held_inputs.h"
#include "cuda/element/held_ring.h"
#include "cuda/element/held_sums.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda {

/// Products of a slot with a slice: of 256 columns each, and of both halves of 8 columns, sums of
/// their own, which do not wait for each other.
template <HeldConfig kConfig, Dtype kType>
class HeldProducts {
 public:
  static constexpr FragmentForm kForm = kConfig.form;
  static constexpr int kTiles = kConfig.tiles, kParts = kConfig.slice_columns() / 256;
  static constexpr int kPartGroups = 256 / (kElementLanes * kForm.group);

  __device__ explicit HeldProducts(const std::byte* table) : table_(table) {}

  template <int kSlot>
  __device__ void multiply(const HeldSlot<kConfig>& slot, const HeldInputs<kConfig, kType>& x) {
    multiply_groups<kSlot>(slot, x, std::make_integer_sequence<int, kConfig.slot_groups()>());
  }

  __device__ void add_up(float (&out)[kTiles][4]) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float sum = sums_[0][0][tile][i] + sums_[0][1][tile][i];
        if constexpr (kParts == 2) sum += sums_[1][0][tile][i] + sums_[1][1][tile][i];
        out[tile][i] = sum;
      }
  }

 private:
  template <int kSlot, int... kGroup>
  __device__ void multiply_groups(const HeldSlot<kConfig>& slot,
                                  const HeldInputs<kConfig, kType>& x,
                                  std::integer_sequence<int, kGroup...>) {
    (multiply_group<kSlot, kGroup>(slot, x), ...);
  }
  template <int kSlot, int kGroup>
  __device__ void multiply_group(const HeldSlot<kConfig>& slot,
                                 const HeldInputs<kConfig, kType>& x) {
    constexpr int kInSlice = kSlot * kConfig.slot_groups() + kGroup, kPart = kInSlice / kPartGroups;
    constexpr int kWord = kGroup * kForm.kept / 2;
    std::uint32_t dense[2][kForm.group / 2];
#pragma unroll
    for (int h = 0; h < 2; ++h)
      dense_places<kForm>(table_, group_choice<kForm, kGroup>(slot.choices[h]),
                          piece_word<kWord>(slot.values[h]),
                          piece_word<kWord + kForm.kept / 2 - 1>(slot.values[h]), dense[h]);
    multiply_octet<kPart>(dense, x.template get<kInSlice, 0>(0),
                          x.template get<kInSlice, 0>(kTiles - 1), 0);
    if constexpr (kForm.group == 16)
      multiply_octet<kPart>(dense, x.template get<kInSlice, 1>(0),
                            x.template get<kInSlice, 1>(kTiles - 1), 4);
  }
  template <int kPart>
  __device__ void multiply_octet(const std::uint32_t (&dense)[2][kForm.group / 2], const uint4& x,
                                 const uint4& last, int at) {
    const auto &low = dense[0], &high = dense[1];
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint4& b = tile == 0 ? x : last;
      ptx::dense_mma<kType>(sums_[kPart][0][tile], {low[at], high[at], low[at + 1], high[at + 1]},
                            {b.x, b.y});
      ptx::dense_mma<kType>(sums_[kPart][1][tile],
                            {low[at + 2], high[at + 2], low[at + 3], high[at + 3]}, {b.z, b.w});
    }
  }

  const std::byte* table_;
  float sums_[kParts][2][kTiles][4] = {};
};

/// kFormNumber: of kFragmentForms; kTiles: times 8 tokens.
template <int kFormNumber, Dtype kType, int kTiles>
__global__ void __launch_bounds__(32 * kHeldWarps, 2)
    held_kernel(const __grid_constant__ HeldArguments p) {
  constexpr HeldConfig kConfig{kFragmentForms[kFormNumber], kTiles};
  extern __shared__ __align__(1024) std::byte held_shared[];
  const std::uint32_t shared = ptx::shared_address(held_shared);
  const ElementSplit& s = p.split;
  const HeldPlaces& at = p.places;
  const int lane = threadIdx.x % 32, warp = __shfl_sync(~0u, threadIdx.x / 32, 0);
  const int rank = blockIdx.x, tile = blockIdx.y, first_token = blockIdx.z * kConfig.tokens();

  // Weights do not come from the kernels before: they are on their way while those end.
  LookupWalk walk(s, p.weight.layout.units(), held_slots(kConfig, p.weight.layout), rank, tile,
                  warp);
  HeldRing<kConfig> ring(
      p.weight, walk, shared + at.slots + warp * at.stages * kConfig.slot_bytes(),
      shared + at.barriers + 8 * (kHeldBarriers + warp * at.stages), at.stages, lane);
  ptx::let_next_kernel_begin();
  HeldSums<kConfig> sums(p, walk, shared, rank, tile, warp, lane);
  fill_table<kConfig.form>(held_shared);
  if (s.ranks > 1) ptx::cluster_barrier_relaxed();
  __syncthreads();
  ptx::wait_for_kernels_before();

#pragma unroll 1
  for (int pass = 0; pass < at.passes; ++pass) {
    const int first = walk.now, count = walk.end - walk.now;
    HeldInputs<kConfig, kType> x;
    x.load(p, first * kConfig.slot_columns(), first_token, lane);
#pragma unroll 1
    for (int part = walk.first_part; part < walk.end_part; part += walk.part_step) {
      HeldProducts<kConfig, kType> products(lane_table<kConfig.form>(held_shared, lane));
      const auto multiply = [&]<int kSlot>() {
        if (kSlot >= count) return;
        HeldSlot<kConfig> slot;
        ring.take(slot, first + kSlot);
        products.template multiply<kSlot>(slot, x);
      };
      [&]<int... kSlot>(std::integer_sequence<int, kSlot...>) {
        (multiply.template operator()<kSlot>(), ...);
      }
      (std::make_integer_sequence<int, kConfig.slice_slots()>());
      float out[kTiles][4];
      products.add_up(out);
      sums.put(out);
    }
    walk.next_pass();
  }
  sums.finish();
  sums.template store_outputs<kType>(p, first_token, walk.end_part);
}

}  // namespace coppice::cuda
