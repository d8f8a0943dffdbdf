// The multiplying side of the mma kernels: one warp's way through the stages. sparse_mma_kernel.h
// says how it works together with the others.
#pragma once

#include "cuda/kernels/sparse_mma_loader.h"
#include "cuda/kernels/sparse_mma_ring.h"
#include "cuda/ptx/mma.h"

namespace coppice::cuda::mma {

/// One warp's products and copies.
template <MmaKernel kKernel, Dtype kType>
class Multiplier {
 public:
  static constexpr int kVectors = kKernel.vectors;
  static constexpr int kCount = 32;             // sums a lane has of a unit: 64 tokens
  static constexpr int kGroups = 2 * kVectors;  // (vector, half of the tokens): products of a turn
  using Sums = float[kBlockUnits][kCount];

  __device__ Multiplier(const ProductArguments& p, const RingWalk& ring, int thread)
      : p_(p),
        ring_(ring),
        loader_(p, thread),
        list_copy_(p, thread),
        decoder_(thread),
        lane_(thread % 32),
        row_warp_(thread / 32 / kKernel.token_warps),
        token_warp_(thread / 32 % kKernel.token_warps),
        values_(row_warp_ * At::kBlock + value_address<kKernel>(lane_, 0)),
        words_(row_warp_ * At::kBlock + At::kValues + lane_ * 4),
        slack_(slack(p.stages)),
        ahead_(ring.ahead(slack_)),
        filling_(ring.ahead(p.stages - slack_).stage()),
        left_(ring.ahead(p.stages - 1).stage()) {}

  /// Copies the first stages, as many as can be under way.
  __device__ void start() {
    if constexpr (has_lists(kKernel)) start_lists();
    RingWalk first = ring_, lists = ahead_;
    for (int i = 0; i < p_.stages - slack_; ++i, first.advance(), lists.advance()) {
      loader_.begin(first.stage(), lists.stage() + At::kLists);
#pragma unroll
      for (int slot = 0; slot < Loader<kKernel>::kSlots; ++slot) copy_slot(slot, first.stage());
      finish_copies(first.stage());
    }
    // The other stages are free, and the first has arrived.
    __syncthreads();
    for (int i = 0; i < slack_; ++i) ptx::barrier_arrive(ring_.ahead(i).stage() + At::kBarrier);
    ptx::barrier_wait(ring_.stage() + At::kBarrier, parity_);
    loader_.begin(filling_, ring_.stage() + At::kLists);
    // As if after the last group of a stage.
#pragma unroll
    for (int slot = 0; slot < kLastSlots; ++slot) copy_slot(slot, filling_);
  }

  /// All products of a tile.
  __device__ void multiply(int row_tile, Sums& d) {
    if (p_.steps == 0) return;
    enter_tile(row_tile);
    read_rows(0);
    read_weights<0, 0>(0);
    read_activations(0, 0);
    int left = p_.steps;
#pragma unroll 1
    while (true) {
      turn<0, 0>(true, d);
      turn<1, 0>(--left > 0, d);
      if (left == 0) break;
      if constexpr (kTwoSteps) {
        turn<0, 1>(true, d);
        turn<1, 1>(--left > 0, d);
        if (left == 0) break;
      } else {
        keep_metadata();
      }
    }
  }

 private:
  using At = Stage<kKernel>;
  static constexpr bool kDecodes = decodes_lists(kKernel);
  // Steps of the loop over them: where lists are decoded, two would be too much code for the first
  // instruction cache.
  static constexpr bool kTwoSteps = kKernel.halves == 2 && !has_lists(kKernel);
  static constexpr int kLastSlots = 4 / kVectors;  // copied during the last group of a stage

  // The lists that would have come and been decoded in stages before the first.
  __device__ void start_lists() {
    RingWalk first = ring_, decoded = ahead_;
    for (int i = 0; i < lists_ahead(kKernel, p_.stages); ++i, first.advance()) {
      list_copy_.copy((kDecodes ? first.stage() : left_) + At::kPackedLists);
      list_copy_.advance();
    }
    ptx::copy_async_wait_all();
    __syncthreads();
    if constexpr (kDecodes) {
      for (int i = 0; i < p_.stages; ++i, first.advance(), decoded.advance()) {
        load_lists(first.stage());
        decode_lists(decoded.stage());
      }
      __syncthreads();
    } else {
      load_lists(left_);
      decode_lists(0);
      decode_other_half();
    }
  }

  // Products of half a step. What the first of them read is in registers on entry; what the first
  // of the next half-step read is on exit, if there is one in the tile. kTurn: which of two steps.
  template <int kHalf, int kTurn>
  __device__ void turn(bool more, Sums& d) {
    constexpr bool kLeaves = kKernel.halves == 1 || kHalf == 1;
    constexpr int kNext = kKernel.halves == 1 ? 0 : 1 - kHalf;  // half-step of the stage
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      if (g + 1 < kGroups) {
        read_activations(g + 1, (g + 1) / 2);
        if (kLeaves && g == kGroups - 2) leave_stage();
      } else {
        if constexpr (kLeaves) enter_stage();
        if (more) {
          read_rows(kNext);
          read_weights<1 - kHalf, kHalf == 0 ? kTurn : 1 - kTurn>(kNext);
          read_activations(0, 0);
        }
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        // Asked early, the answer is there when it is needed.
        if (kLeaves && g == kGroups - 2 && j == 2)
          entered_ = ptx::barrier_test(ring_.stage() + At::kBarrier, parity_);
        multiply_tokens<kHalf, kTurn>(g, j, d);
        copy_after<kHalf>(g, j);
        if (has_lists(kKernel) && kKernel.halves == 2 && kHalf == 0 && g == 0) {
          if (j == 0) load_lists(ring_.stage());
          if (j == 3) decode_lists(ahead_.stage());
        }
      }
    }
  }

  template <int kHalf>
  __device__ void copy_after(int group, int j) {
    if ((4 * group + j) % kVectors != 0) return;
    constexpr int kPlaces = 8 * kKernel.halves;
    const int place = (kKernel.halves == 1 ? 0 : 8 * kHalf) + (4 * group + j) / kVectors;
    if (place >= kPlaces - kLastSlots)
      copy_slot(place - (kPlaces - kLastSlots), filling_);
    else if (place < kPlaces - 2 * kLastSlots)
      copy_slot(place + kLastSlots, filling_);
  }

  __device__ void copy_slot(int slot, std::uint32_t stage) {
    loader_.copy(slot);
    if (has_lists(kKernel) && slot == Loader<kKernel>::kSlots - 1)
      list_copy_.copy(stage + At::kPackedLists);
  }

  __device__ void finish_copies(std::uint32_t stage) {
    loader_.finish();
    if constexpr (has_lists(kKernel)) list_copy_.advance();
    ptx::barrier_arrive_on_copies(stage + At::kBarrier);
  }

  // Of a later stage; from the present one, where there is time between coming and going.
  __device__ void load_lists(std::uint32_t stage) {
    if constexpr (kDecodes) {
      decoder_.load(p_, stage + At::kPackedLists);
    } else {
#pragma unroll
      for (int v = 0; v < kVectors; ++v)
#pragma unroll
        for (int half = 0; half < kKernel.halves; ++half)
          bits_[half][v] =
              load_listed(p_, stage + At::kPackedLists + (row_warp_ * kVectors + v) * At::kList,
                          half * kHalfCols + lane_);
    }
  }
  __device__ void decode_lists(std::uint32_t stage) {
    if constexpr (kDecodes)
      decoder_.store(p_, stage + At::kLists);
    else
      decode_entries(0);
  }
  // What of a window's entries is needed until a stage is left.
  __device__ void decode_other_half() {
    if constexpr (has_lists(kKernel) && !kDecodes && kKernel.halves == 2) decode_entries(1);
  }
  __device__ void decode_entries(int half) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v)
      entry_[half][v] = listed_column(p_, bits_[half][v], half * kHalfCols + lane_);
  }

  // This warp has read the stage, and has issued its copies of another.
  __device__ void leave_stage() {
    if constexpr (has_lists(kKernel) && kKernel.halves == 1) {
      load_lists(ring_.stage());
      decode_lists(ahead_.stage());
    }
    decode_other_half();
    finish_copies(filling_);
    filling_ = slack_ == 1 ? ring_.stage() : left_;
    left_ = ring_.stage();
    if (ring_.advance()) parity_ ^= 1;
    ptx::barrier_arrive(ahead_.stage() + At::kBarrier);
    ahead_.advance();
  }

  // When all copies of a stage have landed, and all warps have left the stage `slack` before it,
  // this one can be read and that one filled.
  __device__ void enter_stage() {
    if (!entered_) ptx::barrier_wait(ring_.stage() + At::kBarrier, parity_);
    loader_.begin(filling_, ring_.stage() + At::kLists);
  }

  __device__ void enter_tile(int row_tile) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      int row = lane_;
      if constexpr (kKernel.rows == MmaRows::gathered)
        row += TileLists<kKernel>(p_, row_tile, lane_).list_of(row_warp_ * kVectors + v) *
               kKernel.places();
      rows_of_[v] = At::kRows + row_address<kKernel>(row, token_warp_);
    }
  }

  // Where this lane's row of the half-step is.
  __device__ void read_rows(int half) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kKernel.rows == MmaRows::window) {
        const auto row = static_cast<int>(entry_[half][v]);
        rows_[v] = ring_.stage() + At::kRows + row_address<kKernel>(row, token_warp_);
      } else {
        rows_[v] = ring_.stage() + rows_of_[v] + half * (kHalfCols * At::kPitch);
      }
    }
  }

  // A word of metadata serves both halves of a step: with both in a stage it is read once.
  template <int kHalf, int kTurn>
  __device__ void read_weights(int half) {
#pragma unroll
    for (int u = 0; u < kBlockUnits; ++u) {
      ptx::load_matrix_4(a_[kHalf][u], ring_.stage() + values_ + u * kUnitValues<kKernel> +
                                           half * kHalfValues<kKernel>);
      if (half == 0)
        metadata_[words(kHalf, kTurn)][u] = ptx::load_shared(ring_.stage() + words_ + u * 128);
    }
  }
  static constexpr int words(int half, int turn) { return kKernel.halves == 2 ? turn : half; }
  // What was read for turn 1 is for turn 0.
  __device__ void keep_metadata() {
    if constexpr (kKernel.halves == 2) {
#pragma unroll
      for (int u = 0; u < kBlockUnits; ++u) metadata_[0][u] = metadata_[1][u];
    }
  }

  __device__ void read_activations(int group, int vector) {
    const int first = group % 2 * 4;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      ptx::load_matrix_4_transposed(b_[group % 2][j], rows_[vector] ^ (first + j) * 16);
  }

  template <int kHalf, int kTurn>
  __device__ void multiply_tokens(int group, int j, Sums& d) {
    constexpr int kUnits = kBlockUnits / kVectors;
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      const int u = group / 2 * kUnits + i;
      float(&sums)[4] = *reinterpret_cast<float(*)[4]>(&d[u][4 * (group % 2 * 4 + j)]);
      ptx::sparse_mma<kType, kHalf>(sums, a_[kHalf][u], b_[group % 2][j],
                                    metadata_[words(kHalf, kTurn)][u]);
    }
  }

  const ProductArguments& p_;
  RingWalk ring_;  // the stage that is read
  Loader<kKernel> loader_;
  ListCopy<kKernel> list_copy_;
  ListDecoder<kKernel> decoder_;
  int lane_, row_warp_, token_warp_;
  std::uint32_t values_, words_;  // this lane's, in a stage
  std::uint32_t rows_of_[kVectors];
  int slack_;
  RingWalk ahead_;                // `slack` stages ahead
  std::uint32_t filling_, left_;  // the stage that is copied; the one before
  std::uint32_t parity_ = 0;      // of the stage's barrier
  bool entered_ = false;
  std::uint32_t bits_[2][kVectors], entry_[2][kVectors], rows_[kVectors];
  std::uint32_t a_[2][kBlockUnits][4], metadata_[2][kBlockUnits];
  std::uint32_t b_[2][4][4];
};

}  // namespace coppice::cuda::mma
