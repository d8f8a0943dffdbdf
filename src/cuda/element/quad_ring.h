// A warp's weights on their way, and as fragments of sparse wgmma: a ring of slots in shared memory
// (quad_ring_plan.h), filled by the copy engine. Copies need no registers and wait for nothing, so
// a ring is full before the kernels in front have ended. A warp waits for its own slots alone.
#pragma once

#include <utility>

#include "cuda/element/element_arguments.h"
#include "cuda/element/quad_fragments.h"
#include "cuda/element/quad_ring_plan.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/copy_bytes.h"

namespace coppice::cuda {

/// By all threads; nobody reads it before a barrier.
template <QuadForm kForm>
__device__ inline void fill_ring_table(std::uint32_t table) {
  constexpr int kPerCode = table_copies(kForm) / 4;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < ring_table_bytes(kForm) / 16;
       i += static_cast<int>(blockDim.x)) {
    const std::uint32_t entry = unit_entry(kForm, static_cast<std::uint32_t>(i / kPerCode));
    ptx::store_shared(table + static_cast<std::uint32_t>(i) * 16,
                      make_uint4(entry, entry, entry, entry));
  }
}

template <QuadForm kForm>
class QuadRing {
 public:
  static constexpr int kBlockUnits = quad_block_units(kForm);
  static constexpr int kBlocks = slot_blocks(kForm);

  /// @param count of slots from `first` on; 0: a warp without rows, whose fragments are anything.
  /// @param slots, barriers of this warp, `places` of them, in shared memory.
  __device__ QuadRing(const ElementWeight& w, int unit, int first, int count, std::uint32_t slots,
                      std::uint32_t barriers, int places, std::uint32_t table, int lane)
      : w_(w),
        table_(table),
        copy_(static_cast<std::uint32_t>(lane % table_copies(kForm) * 4)),
        exchange_(lane % kElementLanes),
        unit_(unit),
        next_(first),
        now_(first),
        end_(first + count),
        slots_(slots),
        barriers_(barriers),
        lane_(lane),
        together_(w.row_vectors == nullptr && w.layout.vec_rows == 1) {
    slot_ = slots;
    slots_end_ = slots + places * kBytes;
    barrier_ = barriers;
    // In a register of every lane: a constant would be moved to one before every use.
    half_selectors_ = __shfl_sync(~0u, expand::kHalfSelectors, lane);
    if (count == 0) return;
    place_copies();
    if (lane < places) {
      ptx::barrier_init(barriers + 8 * lane, kCopies + (together_ ? 0 : 32));
      ptx::fence_async_proxy();
    }
    __syncwarp();
#pragma unroll 1  // what a kernel begins with should not have to be fetched for long
    for (int i = 0; i < places; ++i) ask(slots + i * kBytes, barriers + 8 * i);
  }

  /// Before the first slot, behind the barrier that the table needs.
  __device__ void open_first() {
    open();
    look_up<0>();
    load_values<0>();
  }

  /// Goes through a slot: for every block `use.operator()<kBlock>(make)`, where `make(fragments)`
  /// makes it.
  template <typename Use>
  __device__ void slot(const Use& use) {
    use_blocks(use, std::make_integer_sequence<int, kBlocks>());
  }

 private:
  static constexpr int kCopies = 4;
  static constexpr int kWords = slot_words(kForm), kBits = kForm.code_bits();
  static constexpr int kBytes = slot_bytes(kForm), kValueBytes = 2 * kHalfSlotBytes;
  static constexpr int kPieceBlocks = kBlocks / kSlotPieces;
  static constexpr int kCodeStep = table_copies(kForm) * 4;

  /// Lanes 0 and 1 bring values of rows g and g + 8, 2 and 3 their choices, where those of a warp
  /// lie together.
  __device__ void place_copies() {
    const ElementLayout& l = w_.layout;
    const int h = lane_ % 2, half = 2 * unit_ + h;
    if (lane_ < 2) {
      from_ = w_.values + piece_byte(l, half, next_ * kSlotPieces, 0);
      left_ = (l.pieces - next_ * kSlotPieces) * (32 * kPieceBytes);
      to_ = h * kHalfSlotBytes;
    } else {
      const int vector = min(half, (l.vectors - 1) / kVectorBlock) * kVectorBlock;
      const int word = slot_bit(kForm, next_) / 32;
      from_ = w_.choices + 4 * choice_word(l, vector, 0, word);
      left_ = together_ ? (l.words - word) * 128 : 0;
      to_ = kValueBytes + h * kWords * 128;
    }
  }
  __device__ void ask(std::uint32_t slot, std::uint32_t barrier) {
    if (next_ >= end_) return;
    if (lane_ < kCopies) {
      const bool values = lane_ < 2;
      const int bytes = min(values ? kHalfSlotBytes : kWords * 128, max(0, left_));
      ptx::barrier_arrive_expect(barrier, static_cast<std::uint32_t>(bytes));
      if (bytes > 0) ptx::copy_bulk(slot + to_, from_, static_cast<std::uint32_t>(bytes), barrier);
      constexpr int kStep = kSlotUnits * kBits / 32, kHalfWord = kSlotUnits * kBits % 32 != 0;
      const int step = values ? kHalfSlotBytes : (kStep + (kHalfWord != 0 ? next_ % 2 : 0)) * 128;
      from_ += step;
      left_ -= step;
    }
    if (!together_) {
      copy_choices(slot + kValueBytes);
      ptx::barrier_arrive_on_copies(barrier);
    }
    __syncwarp();
    ++next_;
  }
  /// Those of rows that share vectors do not lie together.
  __device__ void copy_choices(std::uint32_t to) const {
    const ElementLayout& l = w_.layout;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int vector = row_vector(w_, 8 * (2 * unit_ + h) + lane_ / kElementLanes);
      const std::byte* from = w_.choices + 4 * choice_word(l, vector, lane_ % kElementLanes,
                                                           slot_bit(kForm, next_) / 32);
#pragma unroll
      for (int i = 0; i < kWords; ++i)
        if (slot_bit(kForm, next_) / 32 + i < l.words)
          ptx::copy_async<4>(to + (h * kWords + i) * 128 + lane_ * 4, from + i * 128);
    }
  }

  /// Waits for the next slot and takes its choices. Behind the last any will do.
  __device__ void open() {
    if (now_ >= end_) return;
    ptx::barrier_wait(barrier_, parity_);
    if (now_ * kSlotPieces + kSlotPieces > w_.layout.pieces) clear_last_piece();
    const std::uint32_t from = slot_ + kValueBytes + lane_ * 4;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int i = 0; i < kWords; ++i)
        choices_[r][i] = ptx::load_shared(from + (r * kWords + i) * 128);
      if constexpr (kSlotUnits * kBits % 32 != 0) {
        const int shift = slot_bit(kForm, now_) % 32;
        choices_[r][0] = __funnelshift_r(choices_[r][0], choices_[r][1], shift);
        choices_[r][1] >>= shift;
      }
    }
  }
  /// A weight may end in the middle of a slot, and what is not a number would stay one.
  __device__ void clear_last_piece() const {
    static_assert(kSlotPieces == 2);
#pragma unroll
    for (int r = 0; r < 2; ++r)
      ptx::store_shared(slot_ + r * kHalfSlotBytes + (32 + lane_) * kPieceBytes,
                        make_uint4(0, 0, 0, 0));
    __syncwarp();
  }
  /// Takes a piece of the open slot; behind the second the slot is filled again.
  template <int kPiece>
  __device__ void load_values() {
    const std::uint32_t from = slot_ + (kPiece * 32 + lane_) * kPieceBytes;
#pragma unroll
    for (int r = 0; r < 2; ++r) values_[r] = ptx::load_shared_16(from + r * kHalfSlotBytes);
    if constexpr (kPiece == kSlotPieces - 1) {
      __syncwarp();  // all lanes have read what is now written
      ask(slot_, barrier_);
      ++now_;
      slot_ += kBytes, barrier_ += 8;
      if (slot_ == slots_end_) slot_ = slots_, barrier_ = barriers_, parity_ ^= 1;
    }
  }

  template <int kUnit>
  __device__ std::uint32_t values(int row) const {
    return values_of_unit<kUnit>(values_[row]);
  }
  /// What a unit's code stands for.
  template <int kUnit>
  __device__ std::uint32_t entry(int row) const {
    constexpr int kWord = kUnit * kBits / 32, kShift = kUnit * kBits % 32;
    constexpr int kTo = kCodeStep == 128 ? 7 : 6, kMask = ((1 << kBits) - 1) << kTo;
    const std::uint32_t word = choices_[row][kWord];
    std::uint32_t code;
    if constexpr (kShift + kBits > 32)
      code = __funnelshift_r(word, choices_[row][kWord + 1], kShift - kTo);
    else if constexpr (kShift >= kTo)
      code = word >> (kShift - kTo);
    else
      code = word << (kTo - kShift);
    return ptx::load_table(((code & kMask) | copy_) + table_);
  }
  template <int kBlock>
  __device__ void look_up() {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      entries_[row][0] = entry<kBlock * kBlockUnits>(row);
      if constexpr (kBlockUnits == 2) entries_[row][1] = entry<kBlock * kBlockUnits + 1>(row);
    }
  }
  template <int kBlock>
  __device__ void look_up_ahead() {
    if constexpr (kBlock + 1 == kBlocks) open();
    look_up<(kBlock + 1) % kBlocks>();
  }

  template <int kBlock>
  __device__ void make(QuadFragments& out) {
    make_block<kForm, kBlock>(
        out, entries_, exchange_, half_selectors_,
        [this]<int kUnit>(int row) { return values<kUnit>(row); },
        [this] { look_up_ahead<kBlock>(); });
  }

  template <int kBlock, typename Use>
  __device__ void use_block(const Use& use) {
    use.template operator()<kBlock>([this](QuadFragments& out) {
      make<kBlock>(out);
      if constexpr (kBlock % kPieceBlocks == kPieceBlocks - 1)
        load_values<(kBlock / kPieceBlocks + 1) % kSlotPieces>();
    });
  }
  template <typename Use, int... kBlock>
  __device__ void use_blocks(const Use& use, std::integer_sequence<int, kBlock...>) {
    (use_block<kBlock>(use), ...);
  }

  const ElementWeight& w_;
  std::uint32_t table_, copy_, half_selectors_;
  const std::byte* from_ = nullptr;  // of the next slot, what this lane copies
  int left_ = 0, to_ = 0;            // bytes from there on; where in a slot
  MetadataExchange exchange_;
  int unit_, next_, now_, end_;  // next_: to be asked for, now_: whose values are taken
  std::uint32_t slots_, slots_end_, slot_, barriers_, barrier_;
  int lane_;
  std::uint32_t parity_ = 0;
  bool together_;
  uint4 values_[2] = {};
  std::uint32_t entries_[2][kBlockUnits], choices_[2][kWords] = {};
};

}  // namespace coppice::cuda
