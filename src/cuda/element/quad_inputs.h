// Activations on their way to the shared memory of a group of warps of a product of quads by rings:
// they were put in order before (quad_order.cu), and one thread has the copy engine bring them,
// stage by stage.
#pragma once

#include "cuda/element/quad_ring_plan.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/wgmma.h"

namespace coppice::cuda {

/// A stage is filled again when all warps that read it are done with it, two stages behind; nobody
/// waits for a slower warp otherwise.
template <int kTokens>
class QuadInputs {
 public:
  /// @param from ordered activations of `count` stages.
  /// @param base, barriers of this group in shared memory. @param fills whether this thread does.
  __device__ QuadInputs(const std::byte* from, int count, std::uint32_t base,
                        std::uint32_t barriers, int stages, bool fills)
      : from_(from),
        base_(base),
        barriers_(barriers),
        stages_(stages),
        ahead_(stages - kBehind),
        left_(fills ? count : 0) {}
  __device__ void init(int warps) const {
#pragma unroll 1
    for (int slot = 0; slot < stages_; ++slot) {
      ptx::barrier_init(full(slot), 1);
      ptx::barrier_init(empty(slot), static_cast<std::uint32_t>(warps));
    }
    ptx::fence_barrier_init();
  }

  /// Behind the barrier that the barriers need.
  __device__ void fill_first() {
    for (int i = 0; i < ahead_ && left_ > 0; ++i) fill(i);
  }
  /// Waits for the next stage.
  __device__ void open() {
    if (left_ > 0) {
      int slot = slot_ + ahead_;
      const bool around = slot >= stages_;
      if (around) slot -= stages_;
      if (opened_ >= kBehind) ptx::barrier_wait(empty(slot), around ? round_ : round_ ^ 1);
      fill(slot);
    }
    ptx::barrier_wait(full(slot_), round_);
    __syncwarp();
  }
  /// The descriptor of a block of the open stage, its lower half.
  __device__ std::uint32_t block(int number) const {
    return ptx::descriptor_low(base_, kBlockSlots * 128) +
           (static_cast<std::uint32_t>(slot_ * static_cast<int>(kBytes) + number * kTokens * 128) >>
            4);
  }
  /// Behind the last product of the open stage that was issued.
  __device__ void close() {
    last_ = slot_;
    if (++slot_ == stages_) slot_ = 0, round_ ^= 1;
    ++opened_;
  }
  /// The stage closed last is not read any more. @param arrives one lane of every warp.
  __device__ void release_last(bool arrives) const {
    if (arrives && opened_ > 0) ptx::barrier_arrive(empty(last_));
  }

 private:
  static constexpr std::uint32_t kBytes = quad_stage_bytes(kTokens);
  static constexpr int kBehind = 2;

  __device__ std::uint32_t full(int slot) const {
    return barriers_ + static_cast<std::uint32_t>(slot * 16);
  }
  __device__ std::uint32_t empty(int slot) const { return full(slot) + 8; }
  __device__ void fill(int slot) {
    --left_;
    ptx::barrier_arrive_expect(full(slot), kBytes);
    ptx::copy_bulk(base_ + static_cast<std::uint32_t>(slot) * kBytes, from_, kBytes, full(slot));
    from_ += kBytes;
  }

  const std::byte* from_;
  std::uint32_t base_, barriers_;
  int stages_, ahead_;
  int left_;  // stages that this thread has to fill
  int slot_ = 0, last_ = 0, opened_ = 0;
  std::uint32_t round_ = 0;
};

}  // namespace coppice::cuda
