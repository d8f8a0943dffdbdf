// The warps of a kernel of warpgroups that multiply. Activations are operand A, from registers:
// whatever row of shared memory a column lies in, a lane reads its tokens there. Weights are B.
// Lane 4g + t of a warp has the warp's tokens 4g to 4g + 3, of which 2i and 2i + 1 are rows g and
// g + 8 of its part of product i: 16 bytes of a slot, from all banks (BlockedShape::slot_offset).
#pragma once

#include "cuda/blocked/blocked_wgmma_ring.h"
#include "cuda/ptx/tf32.h"
#include "cuda/ptx/tf32_wgmma.h"
#include "cuda/ptx/wgmma.h"

namespace coppice::cuda {

/// What a lane holds of 16 slots: operands of two products side by side, twice eight slots each.
struct WgmmaOperands {
  std::uint32_t a[2][2][4] = {};

  /// @param x of this lane's tokens, its slot of the first four.
  template <BlockedShape kShape>
  __device__ void load(std::uint32_t x) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const uint4 four =
          ptx::load_shared_16(x + static_cast<std::uint32_t>(kShape.slot_offset(4 * n)));
      a[0][n / 2][n % 2 * 2] = four.x, a[0][n / 2][n % 2 * 2 + 1] = four.y;
      a[1][n / 2][n % 2 * 2] = four.z, a[1][n / 2][n % 2 * 2 + 1] = four.w;
    }
  }
  __device__ void round() {
#pragma unroll
    for (auto& product : a)
#pragma unroll
      for (auto& eight : product)
#pragma unroll
        for (std::uint32_t& one : eight) one = ptx::round_tf32_operand(one);
  }
  template <int kProduct>
  __device__ void keep() {
    ptx::keep_values(a[kProduct][0]);
    ptx::keep_values(a[kProduct][1]);
  }
  __device__ void keep() {
    keep<0>();
    keep<1>();
  }
};

template <BlockedShape kShape>
__device__ std::uint64_t wgmma_weights(const WgmmaRing<kShape>& ring, int eight, int part) {
  constexpr std::uint32_t kHigh =
      ptx::descriptor_high(BlockedShape::kPieceRows, ptx::Swizzle::bytes_64);
  constexpr std::uint32_t kEight = 8 * 4;
  return ptx::matrix_descriptor(
      ptx::descriptor_low(ring.stage() + part * ring.kPartBytes + eight * kEight, 16), kHigh);
}

/// Sums of a tile: this lane's four tokens of kCount / 2 rows. This one by one product.
template <BlockedShape kShape>
class WgmmaSums {
 public:
  static constexpr int kCount = kShape.rows() / 2;
  float sum[2][kCount];

  /// @param x offset of this lane's activations in a stage.
  __device__ WgmmaSums(WgmmaRing<kShape>& ring, std::uint32_t x, bool releases)
      : ring_(ring), rows_(ring), x_(x + ring.kActivations), releases_(releases) {}

  /// Three sets of registers in turn, as those of products under way must not change: one is
  /// multiplied by, the next one rounded, and the one after it on its way, so that rows of
  /// activations are free again two steps before the values beside them.
  __device__ void run(int steps) {
    WgmmaOperands a, b, c;
    load(a);
    round(a);
    if (steps > 1) load(b);
    add_step<true>(a, b, c, steps);
#pragma unroll 1
    for (int left = steps - 1; left > 0; --left) {
      add_step<false>(b, c, a, left);
      if (--left == 0) break;
      add_step<false>(c, a, b, left);
      if (--left == 0) break;
      add_step<false>(a, b, c, left);
    }
    ptx::wgmma_wait<0>();
    a.keep();
    b.keep();
    c.keep();
    ptx::keep_order(sum[0]);
    ptx::keep_order(sum[1]);
    if (releases_) ptx::barrier_arrive(under_way_);
  }

 private:
  __device__ void load(WgmmaOperands& to) {
    rows_.wait_loaded();
    to.load<kShape>(rows_.stage() + x_);
    read_ = rows_.read();
    rows_.advance();
  }
  /// What was loaded last.
  __device__ void round(WgmmaOperands& loaded) {
    loaded.round();
    loaded.keep();
    __syncwarp();
    if (releases_) ptx::barrier_arrive(read_);
  }
  /// @param left steps of the tile, this one among them.
  template <bool kFirst>
  __device__ void add_step(WgmmaOperands& now, WgmmaOperands& next, WgmmaOperands& before,
                           int left) {
    ring_.wait_full();
    multiply<kFirst>(now);
    if (left > 1) round(next);
    const std::uint32_t under_way = ring_.empty();
    ring_.advance();
    if constexpr (!kFirst) {
      ptx::wgmma_wait<1>();
      before.keep();
      if (releases_) ptx::barrier_arrive(under_way_);
    }
    under_way_ = under_way;
    if (left > 2) load(before);
  }
  template <bool kFirst>
  __device__ void multiply(const WgmmaOperands& x) {
    ptx::wgmma_fence();
#pragma unroll
    for (int eight = 0; eight < 2; ++eight)
#pragma unroll
      for (int product = 0; product < 2; ++product)
        if (kFirst && eight == 0)
          ptx::tf32_wgmma<0>(sum[product], x.a[product][eight], wgmma_weights(ring_, eight, 0));
        else
          ptx::tf32_wgmma<1>(sum[product], x.a[product][eight], wgmma_weights(ring_, eight, 0));
    ptx::wgmma_commit();
  }

  WgmmaRing<kShape>& ring_;  // of values
  WgmmaRing<kShape> rows_;   // of activations, ahead of them
  std::uint32_t x_;
  bool releases_;
  std::uint32_t under_way_ = 0, read_ = 0;  // what releases them
};

/// By three products: each operand is the sum of two numbers. While products of half of the tokens
/// are under way, those of the other half are added to their sums, and operands made.
template <BlockedShape kShape>
requires(kShape.math == BlockedMath::split) class WgmmaSums<kShape> {
 public:
  static constexpr int kCount = kShape.rows() / 2;
  float sum[2][kCount];

  __device__ WgmmaSums(WgmmaRing<kShape>& ring, std::uint32_t x, bool releases)
      : ring_(ring), x_(x + ring.kActivations), releases_(releases) {}

  __device__ void run(int steps) {
#pragma unroll
    for (auto& product : sum)
#pragma unroll
      for (float& one : product) one = 0;
    load();
#pragma unroll 1
    for (int left = steps; left > 0; left -= kPieces) {
      add_steps<0>(left);
      ptx::wgmma_wait<1>();
      finish<0>();
      ptx::wgmma_wait<0>();
      finish<1>();
      if (releases_) ptx::barrier_arrive(under_way_);
    }
  }

 private:
  static constexpr int kPieces = kShape.group_pieces;

  /// A multiple of kPieces steps is brought.
  template <int kStep>
  __device__ void add_steps(int left) {
    add_product<0, kStep == 0>();
    add_product<1, kStep == 0>();
    if constexpr (kStep > 0) {
      if (releases_) ptx::barrier_arrive(under_way_);
    }
    under_way_ = ring_.empty();
    ring_.advance();
    if (kStep + 1 < kPieces || left > kPieces) load();
    if constexpr (kStep + 1 < kPieces) add_steps<kStep + 1>(left);
  }
  __device__ void load() {
    ring_.wait_full();
    next_.load<kShape>(ring_.stage() + x_);
  }
  template <int kProduct, bool kFirst>
  __device__ void add_product() {
    if constexpr (!kFirst) {
      ptx::wgmma_wait<1>();
      keep<kProduct>();
    }
#pragma unroll
    for (int eight = 0; eight < 2; ++eight)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // Of what is no number the rest is none either.
        const std::uint32_t bits = next_.a[kProduct][eight][i];
        const std::uint32_t big = (bits + 0x1000) & 0xFFFFE000;
        big_.a[kProduct][eight][i] = big;
        rest_.a[kProduct][eight][i] = __float_as_uint(__uint_as_float(bits) - __uint_as_float(big));
      }
    big_.template keep<kProduct>();
    rest_.template keep<kProduct>();
    multiply<kProduct, kFirst>();
  }
  /// The small products first.
  template <int kProduct, bool kFirst>
  __device__ void multiply() {
    float(&d)[kCount] = part_[kProduct];
    const auto &big = big_.a[kProduct], &rest = rest_.a[kProduct];
    ptx::wgmma_fence();
    ptx::tf32_wgmma<kFirst ? 0 : 1>(d, rest[0], wgmma_weights(ring_, 0, 0));
    ptx::tf32_wgmma<1>(d, rest[1], wgmma_weights(ring_, 1, 0));
    ptx::tf32_wgmma<1>(d, big[0], wgmma_weights(ring_, 0, 1));
    ptx::tf32_wgmma<1>(d, big[1], wgmma_weights(ring_, 1, 1));
    ptx::tf32_wgmma<1>(d, big[0], wgmma_weights(ring_, 0, 0));
    ptx::tf32_wgmma<1>(d, big[1], wgmma_weights(ring_, 1, 0));
    ptx::wgmma_commit();
  }
  /// Products of this half are done.
  template <int kProduct>
  __device__ void keep() {
    big_.template keep<kProduct>();
    rest_.template keep<kProduct>();
  }
  template <int kProduct>
  __device__ void finish() {
    keep<kProduct>();
    ptx::keep_order(part_[kProduct]);
#pragma unroll
    for (int j = 0; j < kCount; ++j) sum[kProduct][j] += part_[kProduct][j];
  }

  WgmmaRing<kShape>& ring_;
  std::uint32_t x_;
  bool releases_;
  std::uint32_t under_way_;
  WgmmaOperands next_, big_, rest_;
  float part_[2][kCount];
};

}  // namespace coppice::cuda
