// The warps of a ring kernel that bring what the others multiply: one thread orders windows and
// values from the copy engine, a warp or two turn columns into codes.
#pragma once

#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"
#include "cuda/ptx/tensor_copy.h"
#include "cuda/window/ring.h"

namespace coppice::cuda {

/// Barriers and stages in shared memory.
template <int kPanels, int kLists>
struct Ring {
  static constexpr RingShape kShape{kPanels};
  static constexpr std::uint32_t kBarrier = 16;  // bytes: full, and 8 behind it free
  std::uint32_t barriers, stages;

  __device__ explicit Ring(const void* shared)
      : barriers(ptx::shared_address(shared)),
        stages((barriers + kRingHead + 1023) / 1024 * 1024) {}
  __device__ void init(const RingArguments& p) const {
    for (int i = 0; i < p.stage.stages; ++i) {
      ptx::barrier_init(barriers + i * kBarrier, 1 + kLists);
      ptx::barrier_init(barriers + i * kBarrier + 8, kRingWarps);
    }
    ptx::fence_barrier_init();
  }
  __device__ static std::uint32_t window_bytes(const RingArguments& p) {
    return static_cast<std::uint32_t>(p.window.columns * 2 * kShape.tokens());
  }
};

/// Stages one after the other. Addresses are kept, not computed again: so a register of one is not
/// used for something else while a load that it belongs to is under way.
template <int kPanels, int kLists>
struct RingPlace {
  std::uint32_t stage, full, parity = 0;
  std::uint32_t first, last, bytes, back;

  __device__ RingPlace(const Ring<kPanels, kLists>& ring, const RingArguments& p)
      : stage(ring.stages),
        full(ring.barriers),
        first(ring.barriers),
        last(ring.barriers + (p.stage.stages - 1) * ring.kBarrier),
        bytes(static_cast<std::uint32_t>(p.stage.bytes)),
        back(static_cast<std::uint32_t>((p.stage.stages - 1) * p.stage.bytes)) {}
  __device__ std::uint32_t free() const { return full + 8; }
  __device__ bool wraps() const { return full == last; }
  __device__ std::uint32_t next_full() const {
    return wraps() ? first : full + Ring<kPanels, kLists>::kBarrier;
  }
  __device__ std::uint32_t next_parity() const { return parity ^ (wraps() ? 1u : 0u); }
  /// What has to be added to an address of a stage for the next.
  __device__ std::uint32_t step() const { return wraps() ? 0u - back : bytes; }
  __device__ void advance() {
    const std::uint32_t full_after = next_full(), parity_after = next_parity();
    stage += step();
    full = full_after;
    parity = parity_after;
  }
  /// At once the first time round.
  __device__ void wait_free() const { ptx::barrier_wait(free(), parity ^ 1); }
};

/// By one thread: all windows and values of a thread block.
template <int kPanels, int kLists>
__device__ void order_boxes(const RingArguments& p, const CUtensorMap& x, const CUtensorMap& values,
                            const Ring<kPanels, kLists>& ring) {
  constexpr RingShape kShape{kPanels};
  const std::uint32_t window = ring.window_bytes(p), panel = window / kPanels;
  RingPlace<kPanels, kLists> at(ring, p);
#pragma unroll 1
  for (int tile = blockIdx.x; tile < p.row_tiles * p.token_tiles; tile += gridDim.x) {
    const TilePlace place = tile_place(tile, p.row_tiles, p.token_tiles, p.token_group);
#pragma unroll 1
    for (int piece = 0; piece < p.weight.layout.pieces; ++piece) {
      at.wait_free();
      ptx::barrier_arrive_expect(at.full, window + kShape.weight_bytes());
      const int first = ring_first(p.weight.layout, piece) >> (p.window.shift + 2);
#pragma unroll
      for (int i = 0; i < kPanels; ++i)
        ptx::load_box(at.stage + i * panel, &x, place.token_tile * kShape.tokens() + i * kRingPanel,
                      0, 0, 0, first, at.full);
      ptx::load_box(at.stage + window, &values, 0, piece, place.row_tile * (kShape.rows() / 8),
                    at.full);
      at.advance();
    }
  }
  // A stage behind the last, of which nothing is used: so the others read ahead without a question.
  at.wait_free();
  ptx::barrier_arrive(at.full);
}

/// By a warp, of eight lists: four lanes for each, 8 columns a lane.
template <int kPanels, int kLists>
class RingCodes {
 public:
  __device__ RingCodes(const RingArguments& p, const Ring<kPanels, kLists>& ring, int warp,
                       int lane)
      : p_(p), at_(ring, p), list_(8 * warp + lane / 4), lane_(lane) {
    to_ = ring.window_bytes(p) + RingShape{kPanels}.weight_bytes() +
          static_cast<std::uint32_t>(list_ * kRingListBytes + lane % 4 * 16);
  }
  /// Columns are asked for three pieces ahead: they may come from memory.
  __device__ void run() {
    enter();
    uint4 one = ask(), two = ask(), three = ask();
#pragma unroll 1
    for (int tile = blockIdx.x; tile < p_.row_tiles * p_.token_tiles; tile += gridDim.x)
#pragma unroll 1
      for (int piece = 0; piece < p_.weight.layout.pieces; ++piece) {
        const uint4 now = one;
        one = two;
        two = three;
        three = ask();
        put(now, piece);
      }
    at_.wait_free();
    finish(make_uint4(0, 0, 0, 0));
  }

 private:
  /// The tile whose columns are asked for next.
  __device__ void enter() {
    const ElementLayout& l = p_.weight.layout;
    const int row_tile =
        tile_place(asked_tile_, p_.row_tiles, p_.token_tiles, p_.token_group).row_tile;
    const int row = row_tile * RingShape{kPanels}.rows() + list_ * (kRingWarpRows / kLists);
    runs_ = reinterpret_cast<const std::uint16_t*>(p_.weight.choices) +
            run_number(l, min(row, l.rows - 1) / l.vec_rows, 0);
  }
  /// Of the next piece; behind the last tile of the first one again.
  __device__ uint4 ask() {
    const uint4 columns = ask(asked_piece_);
    if (++asked_piece_ == p_.weight.layout.pieces) {
      asked_piece_ = 0;
      asked_tile_ += static_cast<int>(gridDim.x);
      if (asked_tile_ >= p_.row_tiles * p_.token_tiles) asked_tile_ = static_cast<int>(blockIdx.x);
      enter();
    }
    return columns;
  }
  /// This lane's columns, two in a word.
  __device__ uint4 ask(int piece) const {
    const int run = p_.weight.layout.run, first = piece * kRingSlots + lane_ % 4 * 8;
    if (run == 1) return __ldg(reinterpret_cast<const uint4*>(runs_ + first));
    const int bits = 31 - __clz(run);
    std::uint32_t two[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int slot = first + 2 * i;  // runs are even
      two[i] = (__ldg(runs_ + (slot >> bits)) + (slot & (run - 1))) * 0x10001u + 0x10000u;
    }
    return make_uint4(two[0], two[1], two[2], two[3]);
  }
  __device__ void put(const uint4& columns, int piece) {
    const std::uint32_t mixed = static_cast<std::uint32_t>(p_.window.mixed());
    const std::uint32_t first =
        (static_cast<std::uint32_t>(ring_first(p_.weight.layout, piece)) & (0u - mixed)) * 0x10001u;
    const int shift = p_.window.shift;
    const uint4 codes =
        make_uint4(ring_codes(columns.x - first, shift), ring_codes(columns.y - first, shift),
                   ring_codes(columns.z - first, shift), ring_codes(columns.w - first, shift));
    at_.wait_free();
    finish(codes);
  }
  __device__ void finish(const uint4& codes) {
    ptx::store_shared(at_.stage + to_, codes);
    __syncwarp();
    if (lane_ == 0) ptx::barrier_arrive(at_.full);
    at_.advance();
  }

  const RingArguments& p_;
  RingPlace<kPanels, kLists> at_;
  int list_, lane_;
  int asked_tile_ = static_cast<int>(blockIdx.x), asked_piece_ = 0;
  std::uint32_t to_;
  const std::uint16_t* runs_ = nullptr;
};

}  // namespace coppice::cuda
