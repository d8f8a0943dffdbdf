// The warps that bring operands to a kernel of warpgroups. Some load rows of activations. Values
// come into the order of the swizzle on the way. For one product the copy engine brings them as
// boxes, and rounds them. For three, the loading warps copy them and others divide them into two
// numbers where they lie: what wgmma reads has to be fenced by those who wrote it, and who fences
// waits for its loads.
#pragma once

#include "cuda/blocked/blocked_wgmma_ring.h"
#include "cuda/element/stage.h"
#include "cuda/ptx/copy_4.h"
#include "cuda/ptx/tensor_copy.h"
#include "cuda/ptx/tf32.h"

namespace coppice::cuda {

/// Where the activations of this warp's share of the slots lie, for some steps at a time: lane
/// kOwn * s + i has slot kOwn * w + i of step s. A list's entries are loaded two such times before
/// they are used, and mapped to columns of x one before: nothing waits for memory.
template <BlockedShape kShape>
class WgmmaColumns {
 public:
  static constexpr int kOwn = BlockedShape::kSlots / kShape.stage_loaders();
  static constexpr int kSteps = 32 / kOwn, kSlots = kSteps * BlockedShape::kSlots;

  __device__ WgmmaColumns(const BlockedArguments& p, int warp, int lane)
      : p_(p), tiles_(p), slot_(lane / kOwn * BlockedShape::kSlots + kOwn * warp + lane % kOwn) {
    find_list();
    load_entry();
    load_column();
    load_entry();
  }
  /// To the next steps, also of the next tile: bytes from the first token of x.
  __device__ std::int64_t next() {
    const std::int64_t any = column_ < 0 ? 0 : column_;  // of padding, whose values are 0
    load_column();
    load_entry();
    return any * p_.x_column * 4;
  }

 private:
  __device__ void find_list() {
    if (tiles_.done()) return;
    tiles_.template place<kShape>();
    list_ = reinterpret_cast<const std::uint16_t*>(p_.weight.choices) +
            run_number(p_.weight.layout, row_vector(p_.weight, tiles_.first_row), 0);
  }
  __device__ void load_entry() {
    if (tiles_.done()) return;
    const int run = (first_ + slot_) >> p_.run_shift;
    entry_ = run < p_.weight.layout.words ? __ldg(list_ + run) : 0;
    first_ += kSlots;
    if (first_ < wgmma_steps<kShape>(p_) * BlockedShape::kSlots) return;
    first_ = 0;
    tiles_.next();
    find_list();
  }
  __device__ void load_column() {
    column_ = activation_column(p_.weight, entry_ + (slot_ & (p_.weight.layout.run - 1)));
  }

  const BlockedArguments& p_;
  WgmmaTiles tiles_;
  const std::uint16_t* list_ = nullptr;
  int slot_, first_ = 0;
  int entry_ = 0, column_ = 0;
};

template <BlockedShape kShape>
class WgmmaLoader {
 public:
  __device__ WgmmaLoader(const BlockedArguments& p, const WgmmaRing<kShape>& ring, int warp,
                         int lane)
      : p_(p),
        ring_(ring),
        tiles_(p),
        part_(kTurns == 1 ? warp : 0),
        lane_(lane),
        columns_(p, part_, lane),
        others_(kTurns == 1 ? 0 : warp) {}

  __device__ void run() {
    const int steps = wgmma_steps<kShape>(p_);
#pragma unroll 1
    for (; !tiles_.done(); tiles_.next()) {
      place();
#pragma unroll 1
      for (int step = 0; step < steps; ++step) {
        const int of_some = step % WgmmaColumns<kShape>::kSteps;
        if (of_some == 0) offsets_ = columns_.next();
        if (is_own()) {
          if constexpr (kShape.boxes()) {
            ring_.wait_read();
          } else {
            ring_.wait_empty();
            copy_values(step);
          }
          whole_ ? copy_rows(of_some) : copy_part(of_some);
          ptx::barrier_arrive_on_copies(ring_.loaded());
        }
        ring_.advance();
      }
    }
  }

 private:
  static constexpr int kOwn = WgmmaColumns<kShape>::kOwn;
  static constexpr int kChunkTokens = 4, kHalf = 32 * kChunkTokens;  // of a tile's tokens
  static constexpr int kTurns = kShape.loaders() / kShape.stage_loaders();

  /// Whether this warp loads of the step that has come.
  __device__ bool is_own() {
    if constexpr (kTurns == 1) return true;
    if (others_ > 0) {
      --others_;
      return false;
    }
    others_ = kTurns - 1;
    return true;
  }
  __device__ void place() {
    tiles_.template place<kShape>();
    const ElementLayout& l = p_.weight.layout;
    const int unit = tiles_.first_row / 8 + part_;
    units_ = 2 * l.units() - unit;
    values_ = p_.weight.values + piece_byte(l, unit, 0, lane_);
    left_ = p_.tokens - tiles_.first_token - lane_ * kChunkTokens;
    whole_ = tiles_.first_token + kShape.tokens() <= p_.tokens;
    x_ = static_cast<const std::byte*>(p_.x) +
         std::int64_t{tiles_.first_token + lane_ * kChunkTokens} * 4;
  }
  /// As atoms of the 64-byte swizzle. What does not exist is 0.
  __device__ void copy_values(int step) {
    const std::int64_t next =
        std::int64_t{kShape.loaders()} * p_.weight.layout.pieces * BlockedShape::kPieceRows;
    std::uint32_t to = ring_.stage() + part_ * BlockedShape::kPieceRows +
                       static_cast<std::uint32_t>(lane_ ^ (lane_ / 8 % 4)) * kPieceBytes;
    const std::byte* from = values_;
#pragma unroll
    for (int unit = 0; unit < kShape.half_units(); unit += kShape.loaders()) {
      if (kShape.half_units() % kShape.loaders() != 0 && unit + part_ >= kShape.half_units()) break;
      if (unit < units_ && step < p_.weight.layout.pieces)
        ptx::copy_async_16(to, from);
      else
        ptx::copy_async_16(to, p_.weight.values, 0);
      to += kShape.loaders() * BlockedShape::kPieceRows;
      from += next;
    }
    values_ += BlockedShape::kPieceRows;
  }
  __device__ std::uint32_t rows() const {
    return ring_.stage() + ring_.kActivations +
           static_cast<std::uint32_t>(kShape.slot_offset(kOwn * part_));
  }
  __device__ void copy_rows(int of_some) const {
    const std::uint32_t to = rows() + lane_ * 16;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const std::byte* from = x_ + __shfl_sync(~0u, offsets_, kOwn * of_some + i);
      const std::uint32_t row = to + static_cast<std::uint32_t>(kShape.slot_offset(i));
      ptx::copy_async_16(row, from);
      ptx::copy_async_16(row + kHalf * 4, from + kHalf * 4);
    }
  }
  /// Of a tile at the end of the tokens. What does not exist is not copied: outputs of such tokens
  /// are not stored. So much straight-line code costs whole tiles of three products 9 % (H200).
  __device__ void copy_part(int of_some) const {
    if constexpr (!kShape.boxes()) {
      copy_singly<false>(of_some);
    } else {
      const std::uint32_t to = rows() + lane_ * 16;
#pragma unroll
      for (int i = 0; i < kOwn; ++i) {
        const std::byte* from = x_ + __shfl_sync(~0u, offsets_, kOwn * of_some + i);
        const std::uint32_t row = to + static_cast<std::uint32_t>(kShape.slot_offset(i));
#pragma unroll
        for (int half = 0; half < 2; ++half)
          ptx::copy_async_16_if(left_ - half * kHalf >= kChunkTokens, row + half * kHalf * 4,
                                from + half * kHalf * 4);
      }
      if (p_.tokens % kChunkTokens != 0) copy_singly<true>(of_some);
    }
  }
  /// One question after the other. kLast: only the last tokens, if they are fewer than a copy has.
  template <bool kLast>
  __device__ void copy_singly(int of_some) const {
    const std::uint32_t to = rows() + lane_ * 16;
    const int tokens = p_.tokens - tiles_.first_token - lane_ * kChunkTokens;
#pragma unroll 1
    for (int i = 0; i < kOwn; ++i) {
      const std::byte* from = x_ + __shfl_sync(~0u, offsets_, kOwn * of_some + i);
      const std::uint32_t row = to + static_cast<std::uint32_t>(kShape.slot_offset(i));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int left = tokens - half * kHalf;
        const std::uint32_t at = row + half * kHalf * 4;
        const std::byte* chunk = from + half * kHalf * 4;
        if (left >= kChunkTokens) {
          if constexpr (!kLast) ptx::copy_async_16(at, chunk);
          continue;
        }
#pragma unroll 1
        for (int token = 0; token < left; ++token)
          ptx::copy_async_4(at + token * 4, chunk + token * 4);
      }
    }
  }

  const BlockedArguments& p_;
  WgmmaRing<kShape> ring_;
  WgmmaTiles tiles_;
  int part_, lane_;  // of a stage
  WgmmaColumns<kShape> columns_;
  int others_;  // that have their turn before this warp
  std::int64_t offsets_ = 0;
  const std::byte *values_ = nullptr, *x_ = nullptr;
  int units_ = 0;  // from this warp's first on, that exist
  int left_ = 0;   // tokens, from this lane's first on
  bool whole_ = false;
};

/// Orders the values of all stages from the copy engine, by one thread. They are rounded on the
/// way; what does not exist becomes 0.
template <BlockedShape kShape>
__device__ void order_values(const BlockedArguments& p, const CUtensorMap& values,
                             WgmmaRing<kShape> ring) {
  const int steps = wgmma_steps<kShape>(p);
#pragma unroll 1
  for (WgmmaTiles tiles(p); !tiles.done(); tiles.next()) {
    tiles.template place<kShape>();
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      ring.wait_empty();
      ptx::barrier_arrive_expect(ring.full(), ring.kPartBytes);
      ptx::load_box(ring.stage(), &values, 0, 8 * step, tiles.first_row / 8, ring.full());
      ring.advance();
    }
  }
}

/// Divides the values of every so-manieth stage: what a fence waits for goes on beside the stages
/// of the other warps.
template <BlockedShape kShape>
class WgmmaDivider {
 public:
  __device__ WgmmaDivider(const BlockedArguments& p, const WgmmaRing<kShape>& ring, int warp,
                          int lane)
      : p_(p), ring_(ring), warp_(warp), lane_(lane) {}

  __device__ void run() {
    const int tiles = p_.row_tiles * p_.token_tiles, threads = static_cast<int>(gridDim.x);
    const int own = (tiles - static_cast<int>(blockIdx.x) + threads - 1) / threads;
    const int steps = own * wgmma_steps<kShape>(p_);
    for (int i = 0; i < warp_; ++i) ring_.advance();
#pragma unroll 1
    for (int step = warp_; step < steps; step += kShape.loaders()) {
      ring_.wait_loaded();
#pragma unroll
      for (int unit = 0; unit < kShape.half_units(); unit += kTogether) divide(unit);
      ptx::fence_async_proxy();
      __syncwarp();
      if (lane_ == 0) ptx::barrier_arrive(ring_.full());
#pragma unroll
      for (int i = 0; i < kShape.loaders(); ++i) ring_.advance();
    }
  }

 private:
  static constexpr int kTogether = kShape.half_units() < 4 ? kShape.half_units() : 4;

  static __device__ std::uint32_t rest(std::uint32_t value, std::uint32_t big) {
    return ptx::round_tf32(__uint_as_float(value) - __uint_as_float(big));
  }
  /// Half units from `unit` on: all are read before the first is written.
  __device__ void divide(int unit) const {
    const std::uint32_t at = ring_.stage() + unit * BlockedShape::kPieceRows +
                             static_cast<std::uint32_t>(lane_) * kPieceBytes;
    uint4 v[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i)
      v[i] = ptx::load_shared_16(at + i * BlockedShape::kPieceRows);
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const std::uint32_t to = at + i * BlockedShape::kPieceRows;
      const auto big = [](std::uint32_t value) { return ptx::round_tf32(__uint_as_float(value)); };
      const uint4 b = make_uint4(big(v[i].x), big(v[i].y), big(v[i].z), big(v[i].w));
      ptx::store_shared(to, b);
      ptx::store_shared(to + ring_.kPartBytes, make_uint4(rest(v[i].x, b.x), rest(v[i].y, b.y),
                                                          rest(v[i].z, b.z), rest(v[i].w, b.w)));
    }
  }

  const BlockedArguments& p_;
  WgmmaRing<kShape> ring_;
  int warp_, lane_;
};

}  // namespace coppice::cuda
