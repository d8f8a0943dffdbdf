// What is under way to the shared memory of a thread block of a product of quads: ordered
// activations, stage by stage, by the copy engine.
#pragma once

#include "cuda/element/quad_form.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/wgmma.h"

namespace coppice::cuda {

/// Where things are in shared memory: the table at a multiple of its size, as addresses go, stages
/// of activations from there on, in multiples of 1024, barriers behind them.
struct QuadPlaces {
  int stage_blocks = 1, stages = 3;
  int barriers = 0, bytes = 0;
  constexpr int stage_bytes(int tokens) const { return stage_blocks * tokens * 128; }
};

constexpr QuadPlaces quad_places(const QuadForm& form, int tokens) {
  constexpr int kMost = 227 * 1024, kBarriers = 256, kStage = 32 * 1024;
  QuadPlaces at;
  at.stage_blocks = kStage / (tokens * 128);
  const int stage = at.stage_bytes(tokens), table = form.table_bytes();
  at.stages = (kMost - kBarriers - 2 * table) / stage;
  at.barriers = table + at.stages * stage;
  at.bytes = at.barriers + kBarriers + table;
  return at;
}

/// The stages of ordered activations of a thread block's tile and rank, one after the other.
template <QuadForm kForm, int kTokens>
class QuadStages {
 public:
  static constexpr QuadPlaces kPlaces = quad_places(kForm, kTokens);
  static constexpr int kBytes = kPlaces.stage_bytes(kTokens);

  /// @param table its shared-memory address. @param count of stages.
  __device__ QuadStages(std::uint32_t table, const std::byte* from, int count)
      : base_(table + kForm.table_bytes()), from_(from), left_(count) {}

  __device__ void init(int warps) const {
    for (int slot = 0; slot < kPlaces.stages; ++slot) {
      ptx::barrier_init(full(slot), 1);
      ptx::barrier_init(empty(slot), static_cast<std::uint32_t>(warps));
    }
    ptx::fence_barrier_init();
  }
  /// By the thread that refills, as open().
  __device__ void fill_first() {
    for (int i = 0; i < kAhead; ++i) fill(i);
  }

  /// Waits for the next stage. @param refills whether this thread does.
  __device__ void open(bool refills) {
    if (refills) {
      int slot = slot_ + kAhead;
      if (slot >= kPlaces.stages) slot -= kPlaces.stages;
      if (opened_ >= kPlaces.stages - kAhead && left_ > 0)
        ptx::barrier_wait(empty(slot), slot_ + kAhead >= kPlaces.stages ? round_ : round_ ^ 1);
      fill(slot);
    }
    ptx::barrier_wait(full(slot_), round_);
    __syncwarp();
  }
  /// The descriptor of a block of the open stage, its lower half.
  __device__ std::uint32_t block(int number) const {
    return ptx::descriptor_low(base_, kBlockSlots * 128) +
           (static_cast<std::uint32_t>(slot_ * kBytes + number * kTokens * 128) >> 4);
  }
  /// Behind the last product of the open stage that was issued.
  __device__ void close() {
    last_ = slot_;
    if (++slot_ == kPlaces.stages) slot_ = 0, round_ ^= 1;
    ++opened_;
  }
  /// The stage closed last is not read any more. @param arrives one lane of every warp.
  __device__ void release_last(bool arrives) const {
    if (arrives && opened_ > 0) ptx::barrier_arrive(empty(last_));
  }

 private:
  static constexpr int kAhead = kPlaces.stages - 2;

  __device__ std::uint32_t full(int slot) const {
    return base_ + static_cast<std::uint32_t>(kPlaces.stages * kBytes + slot * 16);
  }
  __device__ std::uint32_t empty(int slot) const { return full(slot) + 8; }
  __device__ void fill(int slot) {
    if (left_ <= 0) return;
    --left_;
    ptx::barrier_arrive_expect(full(slot), kBytes);
    ptx::copy_bulk(base_ + static_cast<std::uint32_t>(slot * kBytes), from_, kBytes, full(slot));
    from_ += kBytes;
  }

  std::uint32_t base_;
  const std::byte* from_;
  int left_;  // stages to be filled
  int slot_ = 0, last_ = 0, opened_ = 0;
  std::uint32_t round_ = 0;
};

}  // namespace coppice::cuda
