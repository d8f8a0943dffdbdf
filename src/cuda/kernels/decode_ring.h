// A warp's weights on their way: a ring of slots in shared memory, each with the units of a run and
// a step, filled by the copy engine. Copies need no registers and wait for nothing: a ring is full
// before the kernels in front have ended, and a warp waits for its own slots alone.
#pragma once

#include "cuda/kernels/decode_arguments.h"
#include "cuda/kernels/decode_ring_sizes.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda::decode {

/// Units [first, first + units) and steps [begin, end) of a warp; the second of two slices begins
/// at `middle`.
struct Run {
  std::int32_t first, units;
  int begin, middle, end;
};

class RecordRing {
 public:
  /// @param slots, late, barriers of this warp, in shared memory: early slots, the others.
  __device__ RecordRing(const DecodeArguments& a, const ProductArguments& p, const Run& run,
                        std::uint32_t slots, std::uint32_t late, std::uint32_t barriers, int lane)
      : slots_(slots),
        late_(late - a.ring.early * a.ring.slot_bytes()),
        barriers_(barriers),
        count_(a.ring.slots),
        early_(a.ring.early),
        slot_bytes_(a.ring.slot_bytes()),
        all_bytes_(run.units * kUnitBytes),
        lane_(lane),
        left_(run.end - run.begin) {
    const RunCopy copy = run_copy(lane, run.first, run.units, a.ring.run_units);
    const std::int64_t record =
        static_cast<std::int64_t>(copy.unit / kBlockUnits) * p.steps + run.begin;
    from_ = p.records + record * kRecordBytes + copy.from;
    to_ = copy.to;
    bytes_ = copy.bytes;
    if (lane < count_) {
      ptx::barrier_init(barriers + 8 * lane, 1);
      ptx::fence_async_proxy();
    }
    __syncwarp();
#pragma unroll 1  // what a kernel begins with should not have to be fetched for long
    for (int slot = 0; slot < early_; ++slot) ask(slot);
  }

  /// Fills the other slots as well, whose place is free now.
  __device__ void ask_late() {
#pragma unroll 1
    for (int slot = early_; slot < count_; ++slot) ask(slot);
  }

  /// The units of the next step, when they have arrived.
  __device__ std::uint32_t wait() const {
    ptx::barrier_wait(barriers_ + 8 * slot_, parity_);
    return place(slot_);
  }

  /// All lanes have read them: their slot is filled again.
  __device__ void release() {
    __syncwarp();
    ask(slot_);
    if (++slot_ < count_) return;
    slot_ = 0;
    parity_ ^= 1;
  }

 private:
  __device__ void ask(int slot) {
    if (left_ > 0) {
      const std::uint32_t barrier = barriers_ + 8 * slot;
      if (lane_ == 0) ptx::barrier_arrive_expect(barrier, all_bytes_);
      if (bytes_ > 0) ptx::copy_bulk(place(slot) + to_, from_, bytes_, barrier);
    }
    --left_, from_ += kRecordBytes;
  }

  __device__ std::uint32_t place(int slot) const {
    return (slot < early_ ? slots_ : late_) + slot * slot_bytes_;
  }

  std::uint32_t slots_, late_, barriers_;
  int count_, early_, slot_bytes_;
  std::uint32_t all_bytes_;
  int lane_, left_;  // steps to ask for
  int slot_ = 0;
  std::uint32_t parity_ = 0;
  const std::byte* from_;  // of this lane's next copy
  std::uint32_t to_, bytes_;
};

}  // namespace coppice::cuda::decode
