// Where the values of a piece belong: walks through 16 bytes of a row's values and names the place
// of each, for every form of choices. Any pattern; no table in shared memory, so that the thread
// blocks that share a multiprocessor stay many.
#pragma once

#include "cuda/element/element_arguments.h"

namespace coppice::cuda {

/// The vector of a row of the weight; mostly the row itself.
__device__ inline int vector_of(const ElementWeight& w, int row) {
  return w.row_vectors == nullptr && w.layout.vec_rows == 1 ? row : row_vector(w, row);
}

/// A lane's words of choices, bit by bit.
class ChoiceStream {
 public:
  /// `behind`: what lies behind the last word.
  __device__ ChoiceStream(const ElementWeight& w, int row, int t, int first_bit,
                          std::uint32_t behind)
      : words_(reinterpret_cast<const std::uint32_t*>(w.choices) +
               choice_word(w.layout, vector_of(w, row), t, 0)),
        count_(w.layout.words),
        next_(first_bit / 32 + 2),
        left_(64 - first_bit % 32),
        behind_(behind) {
    const std::uint64_t low = word(next_ - 2), high = word(next_ - 1);
    bits_ = (low | high << 32) >> first_bit % 32;
  }
  /// The next `size` bits, 1 to 32.
  __device__ std::uint32_t take(int size) {
    if (left_ < size) {
      bits_ |= static_cast<std::uint64_t>(word(next_++)) << left_;
      left_ += 32;
    }
    const std::uint32_t taken = static_cast<std::uint32_t>(bits_) & (0xFFFFFFFFu >> (32 - size));
    bits_ >>= size;
    left_ -= size;
    return taken;
  }
  /// 32 bits from `bit` on, of any place.
  __device__ std::uint32_t at(int bit) const {
    return __funnelshift_r(word(bit / 32), word(bit / 32 + 1), bit % 32);
  }

 private:
  __device__ std::uint32_t word(int i) const {
    return i < count_ ? __ldg(words_ + 32 * i) : behind_;
  }

  const std::uint32_t* words_;  // 32 apart
  int count_, next_, left_;
  std::uint32_t behind_;
  std::uint64_t bits_;
};

/// Blocks of groups in their packed order, from block `skipped` of `lane_group` on: indices.
class IndexWalk {
 public:
  __device__ IndexWalk(const ElementWeight& w, int row, int t, int lane_group, int skipped)
      : bits_(w.layout.index_bits),
        choices_(w, row, t, (lane_group * w.layout.kept + skipped) * bits_, 0) {}
  __device__ void next_group() {}
  __device__ int next() { return static_cast<int>(choices_.take(bits_)); }

 private:
  int bits_;
  ChoiceStream choices_;
};

/// The same of masks of up to 32 bits: the highest bit of a group first.
class MaskWalk {
 public:
  static constexpr int kMostGroup = 32;

  __device__ MaskWalk(const ElementWeight& w, int row, int t, int lane_group, int skipped)
      : group_(w.layout.group),
        // Behind the end all bits are set: the places are those of the group.
        choices_(w, row, t, lane_group * group_, ~0u) {
    next_group();
    for (; skipped > 0; --skipped) next();
  }
  __device__ void next_group() { bits_ = choices_.take(group_); }
  __device__ int next() {
    const int bit = 31 - __clz(static_cast<int>(bits_));
    bits_ ^= 1u << bit;
    return bit;
  }

 private:
  int group_;
  ChoiceStream choices_;
  std::uint32_t bits_ = 0;  // those that come
};

/// The same of longer masks, 32 bits at a time.
class LongMaskWalk {
 public:
  __device__ LongMaskWalk(const ElementWeight& w, int row, int t, int lane_group, int skipped)
      : group_(w.layout.group), begin_((lane_group - 1) * group_), choices_(w, row, t, 0, ~0u) {
    next_group();
    for (; __popc(bits_) <= skipped; load(part_ - 1)) skipped -= __popc(bits_);
    for (; skipped > 0; --skipped) next();
  }
  __device__ void next_group() {
    begin_ += group_;
    load((group_ - 1) / 32);
  }
  __device__ int next() {
    while (bits_ == 0) load(part_ - 1);
    const int bit = 31 - __clz(static_cast<int>(bits_));
    bits_ ^= 1u << bit;
    return 32 * part_ + bit;
  }

 private:
  __device__ void load(int part) {
    part_ = part;
    const int size = min(32, group_ - 32 * part);
    bits_ = choices_.at(begin_ + 32 * part) & (0xFFFFFFFFu >> (32 - size));
  }

  int group_, begin_;  // first bit of the group
  ChoiceStream choices_;
  int part_ = 0;            // which 32 bits of it
  std::uint32_t bits_ = 0;  // those of them that come
};

/// A piece of 16 bytes of a lane, and where in the groups its first value is.
struct PiecePlace {
  int row, t, piece;
  int lane_group, slot;
};

/// Calls use(i, place) for value i of a piece of a weight of single columns.
template <int kPer, typename Walk, typename Use>
__device__ inline void walk_columns(const ElementWeight& w, const PiecePlace& at, const Use& use) {
  const int kept = w.layout.kept, group = w.layout.group;
  Walk walk(w, at.row, at.t, at.lane_group, at.slot);
  int base = (at.lane_group * kElementLanes + at.t) * group, left = kept - at.slot;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    use(i, base + walk.next());
    if (--left == 0 && i + 1 < kPer) {
      left = kept;
      base += kElementLanes * group;
      walk.next_group();
    }
  }
}

/// The same of blocks of columns.
template <int kPer, typename Walk, typename Use>
__device__ inline void walk_blocks(const ElementWeight& w, const PiecePlace& at, const Use& use) {
  const ElementLayout& l = w.layout;
  Walk walk(w, at.row, at.t, at.lane_group, at.slot / l.block_cols);
  int base = (at.lane_group * kElementLanes + at.t) * l.group_cols(), slot = at.slot;
  int col = slot % l.block_cols;
  int block = walk.next();
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    use(i, base + block * l.block_cols + col);
    ++slot;
    if (++col < l.block_cols) continue;
    col = 0;
    if (slot == l.group_entries()) {
      slot = 0;
      base += kElementLanes * l.group_cols();
      walk.next_group();
    }
    if (i + 1 < kPer) block = walk.next();
  }
}

/// The same of a list: runs of columns.
template <int kPer, typename Use>
__device__ inline void walk_list(const ElementWeight& w, const PiecePlace& at, const Use& use) {
  const ElementLayout& l = w.layout;
  const int slot = (at.piece * kElementLanes + at.t) * kPer;
  const auto* list =
      reinterpret_cast<const std::uint16_t*>(w.choices) + run_number(l, vector_of(w, at.row), 0);
  if (l.run == 1) {  // all of them at once
    union {
      uint4 eight;
      uint2 four;
      std::uint16_t columns[8];
    } runs;
    if constexpr (kPer == 8)
      runs.eight = __ldg(reinterpret_cast<const uint4*>(list + slot));
    else
      runs.four = __ldg(reinterpret_cast<const uint2*>(list + slot));
#pragma unroll
    for (int i = 0; i < kPer; ++i) use(i, runs.columns[i]);
    return;
  }
  const int shift = lowest_bit(static_cast<std::uint32_t>(l.run));
#pragma unroll
  for (int i = 0; i < kPer; ++i)
    use(i, __ldg(list + ((slot + i) >> shift)) + ((slot + i) & (l.run - 1)));
}

/// The same of any weight.
template <int kPer, typename Use>
__device__ inline void walk_piece(const ElementWeight& w, const PiecePlace& at, const Use& use) {
  if (!w.layout.in_groups())
    walk_list<kPer>(w, at, use);
  else if (w.layout.form == ChoiceForm::indices)
    walk_blocks<kPer, IndexWalk>(w, at, use);
  else if (w.layout.group <= MaskWalk::kMostGroup)
    walk_blocks<kPer, MaskWalk>(w, at, use);
  else
    walk_blocks<kPer, LongMaskWalk>(w, at, use);
}

}  // namespace coppice::cuda
