// A warp's weights on their way: a ring of slots in shared memory, each with a chunk of a row,
// filled by the copy engine (before sm_90: by asynchronous copies of the lanes). Copies need no
// registers and wait for nothing, so a ring is full before the kernels in front have ended, and is
// filled again while activations are staged and sums are added up. A warp waits for its own slots
// alone. Asking for a slot is short: a kernel begins with it, and does it for every item.
#pragma once

#include "cuda/element/lookup_item.h"
#include "cuda/element/lookup_walk.h"
#include "cuda/ptx/barrier.h"

namespace coppice::cuda {

template <LookupConfig kConfig>
class LookupRing {
 public:
  using Item = LookupItem<kConfig>;
  using Walk = LookupWalk;

  /// @param walk from its first item on.
  /// @param slots, barriers of this warp, in shared memory: `stages` times Item::kBytes and 8
  /// bytes.
  __device__ LookupRing(const ElementWeight& w, const Walk& walk, std::uint32_t slots,
                        std::uint32_t barriers, int stages, int lane)
      : w_(w),
        ahead_(walk),
        slots_(slots),
        barriers_(barriers),
        stages_(stages),
        lane_(lane),
        together_(kBulk && (Item::kList || (w.row_vectors == nullptr && w.layout.vec_rows == 1))) {
    if (lane < stages) {
      ptx::barrier_init(barriers + 8 * lane,
                        (kBulk ? Item::kHalves : 0) + (together_ ? kChoiceSenders : 32));
      if constexpr (kBulk) ptx::fence_async_proxy();
    }
    __syncwarp();
#pragma unroll 1  // what a kernel begins with should not have to be fetched for long
    for (int i = 0; i < stages; ++i) ask(i);
  }

  /// The walk's next item, in registers; its slot is filled again.
  __device__ void take(Item& item, const Walk& at) {
    ptx::barrier_wait(barriers_ + 8 * place_, parity_);
    item.load(w_, at.part, at.now, lane_, slots_ + place_ * Item::kBytes);
    __syncwarp();  // all lanes have read what is now written
    ask(place_);
    if (++place_ < stages_) return;
    place_ = 0;
    parity_ ^= 1;
  }

 private:
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  static constexpr bool kBulk = true;  // the copy engine brings what lies together
#else
  static constexpr bool kBulk = false;
#endif
  /// Lanes that ask for choices that lie together, behind those that ask for values of a half.
  static constexpr int kChoiceSenders = Item::kList ? Item::kLists : 1;

  __device__ void ask(int place) {
    if (!ahead_.to_item()) return;
    const std::uint32_t slot = slots_ + place * Item::kBytes, barrier = barriers_ + 8 * place;
    if constexpr (kBulk) {
      if (lane_ < Item::kHalves + (together_ ? kChoiceSenders : 0))
        send(Item::bulk_copy(w_, ahead_.part, ahead_.now, lane_), slot, barrier);
    } else {
      Item::copy_values(w_, ahead_.part, ahead_.now, lane_, slot);
    }
    if (!together_) {
      Item::copy_choices(w_, ahead_.part, ahead_.now, lane_, slot + Item::kValueBytes);
      ptx::barrier_arrive_on_copies(barrier);
    }
    ahead_.next();
  }

  static __device__ void send(const BulkCopy& copy, std::uint32_t slot, std::uint32_t barrier) {
    ptx::barrier_arrive_expect(barrier, copy.bytes);
    if (copy.bytes > 0) ptx::copy_bulk(slot + copy.to, copy.from, copy.bytes, barrier);
  }

  const ElementWeight& w_;
  Walk ahead_;
  std::uint32_t slots_, barriers_;
  int stages_, lane_, place_ = 0;
  std::uint32_t parity_ = 0;
  bool together_;  // choices lie together, too
};

}  // namespace coppice::cuda
