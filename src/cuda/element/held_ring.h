// A warp's weights on their way: a ring of slots in shared memory, as lookup_ring.h, for both
// halves of a unit and a slice of columns. Lanes fill it by asynchronous copies of their own: the
// copy engine would need four short ones a slot, and was slower (decode.md). For weights whose rows
// have choices of their own, so that those of 8 rows lie together.
#pragma once

#include "cuda/element/element_arguments.h"
#include "cuda/element/held_config.h"
#include "cuda/element/lookup_walk.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda {

/// A slot in registers.
template <HeldConfig kConfig>
struct HeldSlot {
  uint4 values[2][kConfig.slot_pieces()];  // rows g and g + 8
  std::uint32_t choices[2][kConfig.slot_words()];
};

template <HeldConfig kConfig>
class HeldRing {
 public:
  /// @param walk of slots, from the first on.
  /// @param slots, barriers of this warp, in shared memory: `stages` times slot_bytes() and 8
  /// bytes.
  __device__ HeldRing(const ElementWeight& w, const LookupWalk& walk, std::uint32_t slots,
                      std::uint32_t barriers, int stages, int lane)
      : w_(w), ahead_(walk), slots_(slots), barriers_(barriers), stages_(stages), lane_(lane) {
    if (lane < stages) ptx::barrier_init(barriers + 8 * lane, 32);
    __syncwarp();
    begin_pass();
#pragma unroll 1  // what a kernel begins with should not have to be fetched for long
    for (int i = 0; i < stages; ++i) ask(i);
  }

  /// Slot number `slot` of a unit, which is the next one; its place is filled again.
  __device__ void take(HeldSlot<kConfig>& out, int slot) {
    ptx::barrier_wait(barriers_ + 8 * place_, parity_);
    const std::uint32_t from = slots_ + place_ * kConfig.slot_bytes();
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int i = 0; i < kWords; ++i)
        out.choices[h][i] = ptx::load_shared(from + 2 * kConfig.half_bytes() +
                                             h * kConfig.choice_bytes() + i * kWordSet + lane_ * 4);
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        out.values[h][p] = ptx::load_shared_16(from + h * kConfig.half_bytes() + p * kPieceSet +
                                               lane_ * kPieceBytes);
    if constexpr (kBits % 32 != 0) {
      const int shift = slot * kBits % 32;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int i = 0; i + 1 < kWords; ++i)
          out.choices[h][i] = __funnelshift_r(out.choices[h][i], out.choices[h][i + 1], shift);
        out.choices[h][kWords - 1] >>= shift;
      }
    }
    __syncwarp();  // all lanes have read what is now written
    ask(place_);
    if (++place_ < stages_) return;
    place_ = 0;
    parity_ ^= 1;
  }

 private:
  static constexpr int kPieces = kConfig.slot_pieces(), kWords = kConfig.slot_words();
  static constexpr int kBits = kConfig.slot_bits();
  static constexpr int kPieceSet = 32 * kPieceBytes, kWordSet = 32 * 4;
  static constexpr int kWordLanes = kWordSet / kPieceBytes;  // that copy a word of all lanes
  static_assert(2 * kWords * kWordLanes <= 32);

  /// Half of the unit whose choices this lane copies; 2 and more: none.
  __device__ int choice_half() const { return lane_ / (kWords * kWordLanes); }
  /// Which of their words it copies a part of.
  __device__ int choice_part() const { return lane_ % (kWords * kWordLanes); }
  static __device__ int first_word(int slot) { return slot * kBits / 32; }

  /// What this lane copies of the first slot of a pass.
  __device__ void begin_pass() {
    const ElementLayout& l = w_.layout;
    const int unit = ahead_.part, slot = ahead_.now;
    values_ = w_.values + (std::int64_t{2 * unit} * l.pieces + slot * kPieces) * kPieceSet +
              lane_ * kPieceBytes;
    choices_ =
        w_.choices +
        (std::int64_t{2 * unit + choice_half() % 2} * l.words + first_word(slot)) * kWordSet +
        choice_part() * kPieceBytes;
    whole_ = ahead_.end * kPieces <= l.pieces && (ahead_.end * kBits + 31) / 32 <= l.words;
  }

  __device__ void ask(int place) {
    if (!ahead_.here()) {
      if (!ahead_.to_item()) return;
      begin_pass();
    }
    const ElementLayout& l = w_.layout;
    const std::uint32_t to = slots_ + place * kConfig.slot_bytes() + lane_ * kPieceBytes;
    // Behind the rows there are values, zeros, but no choices: any that were there before.
    bool choices = choice_half() < 2 && 2 * ahead_.part + choice_half() <= (l.rows - 1) / 8;
    if (whole_) {
      copy_values(to);
    } else {
      copy_last_values(to);
      choices = choices && first_word(ahead_.now) + choice_part() / kWordLanes < l.words;
    }
    ptx::copy_async_16_if(choices, to + 2 * kConfig.half_bytes(), choices_);
    ptx::barrier_arrive_on_copies(barriers_ + 8 * place);
    step();
  }
  __device__ const std::byte* upper_values() const {
    return values_ + w_.layout.pieces * kPieceSet;
  }
  __device__ void copy_values(std::uint32_t to) const {
    const std::byte* upper = upper_values();
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      ptx::copy_async_16(to + p * kPieceSet, values_ + p * kPieceSet);
      ptx::copy_async_16(to + kConfig.half_bytes() + p * kPieceSet, upper + p * kPieceSet);
    }
  }
  /// Zeros behind the end: what is not a number would stay one, whatever it is multiplied by.
  __device__ void copy_last_values(std::uint32_t to) const {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const bool has = ahead_.now * kPieces + p < w_.layout.pieces;
#pragma unroll
      for (int h = 0; h < 2; ++h)
        ptx::copy_async_16(to + h * kConfig.half_bytes() + p * kPieceSet,
                           has ? (h == 0 ? values_ : upper_values()) + p * kPieceSet : w_.values,
                           has ? kPieceBytes : 0);
    }
  }

  /// On to the next slot of the unit, or to the first one of the next unit.
  __device__ void step() {
    const ElementLayout& l = w_.layout;
    const int slot = ahead_.now;
    const bool last = ahead_.last_of_part();
    const int next = last ? ahead_.first : slot + 1;
    const int units = last ? 2 * ahead_.part_step : 0;
    values_ += (units * l.pieces + (next - slot) * kPieces) * kPieceSet;
    choices_ += (units * l.words + first_word(next) - first_word(slot)) * kWordSet;
    ahead_.next();
  }

  const ElementWeight& w_;
  LookupWalk ahead_;
  std::uint32_t slots_, barriers_;
  const std::byte *values_, *choices_;  // what this lane copies of the next slot
  int stages_, lane_, place_ = 0;
  std::uint32_t parity_ = 0;
  bool whole_;  // nothing of the slice lies behind the end
};

}  // namespace coppice::cuda
