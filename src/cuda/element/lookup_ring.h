// A warp's weights on their way: a ring of slots in shared memory, each with a chunk of a row,
// filled by the copy engine (before sm_90: by asynchronous copies of the lanes). Copies need no
// registers and wait for nothing, so a ring is full before the kernels in front have ended, and is
// filled again while activations are staged and sums are added up. A warp waits for its own slots
// alone.
#pragma once

#include "cuda/element/lookup_item.h"
#include "cuda/element/lookup_walk.h"
#include "cuda/ptx/barrier.h"

namespace coppice::cuda {

template <LookupConfig kConfig>
class LookupRing {
 public:
  using Rows = LookupRows<kConfig>;
  using Item = typename Rows::Item;
  using Walk = LookupWalk<2 / kConfig.halves()>;

  /// @param walk from its first item on.
  /// @param slots, barriers of this warp, in shared memory: `stages` times kBytes and 8 bytes.
  __device__ LookupRing(const ElementWeight& w, const Walk& walk, std::uint32_t slots,
                        std::uint32_t barriers, int stages, int lane)
      : w_(w),
        ahead_(walk),
        slots_(slots),
        barriers_(barriers),
        stages_(stages),
        lane_(lane),
        together_(kBulk && !Item::kList && w.row_vectors == nullptr && w.layout.vec_rows == 1) {
    if (lane < stages) {
      ptx::barrier_init(barriers + 8 * lane, (kBulk ? 1 : 0) + (together_ ? 0 : 32));
      if constexpr (kBulk) ptx::fence_async_proxy();
    }
    __syncwarp();
#pragma unroll 1  // what a kernel begins with should not have to be fetched for long
    for (int i = 0; i < stages; ++i) ask(i);
  }

  /// The walk's next item, in registers; its slot is filled again.
  __device__ void take(Rows& item, const Walk& at) {
    ptx::barrier_wait(barriers_ + 8 * place_, parity_);
    item.load(w_, at.part, at.now, lane_, slots_ + place_ * Rows::kBytes);
    __syncwarp();  // all lanes have read what is now written
    ask(place_);
    if (++place_ < stages_) return;
    place_ = 0;
    parity_ ^= 1;
  }

 private:
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  static constexpr bool kBulk = true;  // one lane has the copy engine bring what lies together
#else
  static constexpr bool kBulk = false;
#endif

  __device__ void ask(int place) {
    if (!ahead_.to_item()) return;
    const std::uint32_t slot = slots_ + place * Rows::kBytes, barrier = barriers_ + 8 * place;
    const int half_unit = ahead_.part * Rows::kHalves, chunk = ahead_.now;
    if constexpr (kBulk) {
      if (lane_ == 0) copy_together(slot, barrier, half_unit, chunk);
    } else {
      copy_values(slot, half_unit, chunk);
    }
    if (!together_) {
      Item::copy_choices(w_, half_unit, chunk, lane_, slot + Rows::kValueBytes);
      ptx::barrier_arrive_on_copies(barrier);
    }
    ahead_.next();
  }

  __device__ const std::byte* values_of(int half_unit, int chunk) const {
    return w_.values + piece_byte(w_.layout, half_unit, chunk * Item::kPieces, 0);
  }

  __device__ void copy_together(std::uint32_t slot, std::uint32_t barrier, int half_unit,
                                int chunk) const {
    const int pieces = min(Item::kPieces, w_.layout.pieces - chunk * Item::kPieces);
    const int words =
        together_ ? max(0, min(Item::kWords, w_.layout.words - chunk * Item::kWords)) : 0;
    const std::uint32_t value_bytes = pieces * Item::kPieceSet, word_bytes = words * Item::kWordSet;
    ptx::barrier_arrive_expect(barrier, Rows::kHalves * value_bytes + word_bytes);
#pragma unroll
    for (int h = 0; h < Rows::kHalves; ++h)
      ptx::copy_bulk(slot + h * Item::kValueBytes, values_of(half_unit + h, chunk), value_bytes,
                     barrier);
    if (words > 0)
      ptx::copy_bulk(
          slot + Rows::kValueBytes,
          w_.choices + choice_word(w_.layout, half_unit * 8, 0, chunk * Item::kWords) * 4,
          word_bytes, barrier);
  }

  __device__ void copy_values(std::uint32_t slot, int half_unit, int chunk) const {
#pragma unroll
    for (int h = 0; h < Rows::kHalves; ++h)
#pragma unroll
      for (int p = 0; p < Item::kPieces; ++p)
        if (chunk * Item::kPieces + p < w_.layout.pieces)
          ptx::copy_async_16(
              slot + h * Item::kValueBytes + p * Item::kPieceSet + lane_ * kPieceBytes,
              values_of(half_unit + h, chunk) + p * Item::kPieceSet + lane_ * kPieceBytes);
  }

  const ElementWeight& w_;
  Walk ahead_;
  std::uint32_t slots_, barriers_;
  int stages_, lane_, place_ = 0;
  std::uint32_t parity_ = 0;
  bool together_;  // choices lie together, too
};

}  // namespace coppice::cuda
