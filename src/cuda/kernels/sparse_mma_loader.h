// The copying side of the mma kernels: every thread copies its part of every stage, some stages
// ahead of the products, across the tiles of its thread block.
#pragma once

#include <algorithm>

#include "cuda/kernels/sparse_mma_lists.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda::mma {

/// Copies of one stage after the other. A stage is cut into slots, to be issued between products:
/// straight-line code for whole chunks of rows, as many as most weights have.
template <MmaKernel kKernel>
class Loader {
 public:
  static constexpr bool kGathered = kKernel.rows == MmaRows::gathered;
  static constexpr int kSlots = copy_slots(kKernel);

  __device__ Loader(const ProductArguments& p, int thread)
      : p_(p),
        thread_(thread),
        rows_(thread),
        weights_(thread),
        row_bytes_(static_cast<std::uint32_t>(p.x_stride * 2)),
        walk_(p, p.steps * 2 / kKernel.halves) {
    enter_tile();
  }

  /// Begins the next stage; `lists` is where the decoded lists of gathered rows are.
  __device__ void begin(std::uint32_t stage, std::uint32_t lists) {
    stage_ = stage;
    straight_ = kGathered || cols_left_ >= row_count() ? whole_rows_ : 0;
    entries_ = lists + rows_.row * kEntryBytes;
    if (kGathered && p_.columns.quad_bytes != kColumnQuadBytes)
      first_column_ = walk_.stage() * (kKernel.places() / 4) * p_.columns.group;
#pragma unroll
    for (int i = 0; i < kStraight; ++i) {
      if constexpr (kGathered)
        columns_[i] = column(i);
      else
        sources_[i] = x_ + std::uint64_t{row_bytes_} * static_cast<std::uint32_t>(i * kAtOnce);
    }
  }

  __device__ void copy(int slot) {
#pragma unroll
    for (int i = 0; i < kWeightsPerSlot; ++i)
      copy_weights((slot - kFirstWeights) * kWeightsPerSlot + i);
#pragma unroll
    for (int n = 0; n < kChunksPerSlot; ++n) {
      const int i = (slot * kChunksPerSlot + n) / kOfRow;
      const int part = (slot * kChunksPerSlot + n) % kOfRow;
      if (i >= kStraight) continue;
      if (kGathered && part == 0) sources_[i] = x_ + std::uint64_t{columns_[i]} * row_bytes_;
      ptx::copy_async_16_if(i < straight_,
                            stage_ + Stage<kKernel>::kRows + rows_.target(i) + part * 128,
                            sources_[i] + part * 128);
    }
  }

  /// What the slots left out, and on to the next stage. One branch for all that is rare.
  __device__ void finish() {
    const int first = straight_ > 0 ? kStraight : 0;
    if (first < my_rows_ || walk_.last()) [[unlikely]] {
      copy_other_rows(first);
      if (walk_.advance(p_)) {
        enter_tile();
        return;
      }
    } else {
      walk_.advance_in_tile();
    }
    if (kKernel.halves == 2 || !walk_.odd()) record_ += kRecordBytes;
    if constexpr (!kGathered) {
      x_ += std::uint64_t{row_bytes_} * static_cast<std::uint32_t>(row_count());
      cols_left_ -= row_count();
    }
  }

 private:
  static constexpr int kAtOnce = RowCopy<kKernel>::kRowsAtOnce;
  static constexpr int kOfRow = RowCopy<kKernel>::kOfRow;
  // Rows of a thread in straight-line code.
  static constexpr int kStraight = kKernel.rows == MmaRows::in_order ? kKernel.places() / kAtOnce
                                   : kGathered
                                       ? std::min(4, kKernel.lists() * kKernel.places() / kAtOnce)
                                       : 4;
  static constexpr int kChunksPerSlot = (kStraight * kOfRow + kSlots - 1) / kSlots;
  static constexpr int kWeights = WeightCopy<kKernel>::kCopies + 1;  // and metadata
  static constexpr int kWeightsPerSlot = (kWeights + kSlots - 1) / kSlots;
  // After the rows, if there are slots enough: many copies at once hold up the reads behind them.
  static constexpr int kRowSlots = (kStraight * kOfRow + kChunksPerSlot - 1) / kChunksPerSlot;
  static constexpr int kFirstWeights = kRowSlots + kWeights <= kSlots ? kRowSlots : 0;

  __device__ int row_count() const {
    if constexpr (kKernel.rows == MmaRows::in_order) return kKernel.places();
    return p_.stage_rows;
  }
  __device__ std::uint32_t column(int i) const {
    const std::uint32_t column = ptx::load_shared_2(entries_ + i * kAtOnce * kEntryBytes);
    return min(first_column_ + column, static_cast<std::uint32_t>(p_.cols - 1));
  }
  __device__ void enter_tile() {
    const TilePlace at = walk_.place(p_);
    // Blocks that do not exist get the weights of one that does, and are not stored.
    const int block = min(at.row_tile * kKernel.row_warps + weights_.block, p_.block_count - 1);
    record_ = p_.records + static_cast<std::int64_t>(block) * p_.steps * kRecordBytes;
    const int token = at.token_tile * kKernel.tile_tokens() + rows_.chunk * 8;
    const int left = (p_.tokens - token) * 2;
    left_ = left;
    x_ = static_cast<const std::byte*>(p_.x) + (left > 0 ? 2 * token : 0);
    int rows = row_count();
    if constexpr (kGathered) {
      rows = TileLists<kKernel>(p_, at.row_tile, thread_ % 32).count() * kKernel.places();
    } else {
      x_ += std::uint64_t{row_bytes_} * static_cast<std::uint32_t>(rows_.row);
      cols_left_ = p_.cols;
    }
    my_rows_ = (rows - rows_.row + kAtOnce - 1) / kAtOnce;
    whole_rows_ = left >= 16 + (kOfRow - 1) * 128 ? my_rows_ : 0;
  }

  __device__ void copy_weights(int i) const {
    const std::uint32_t target = stage_ + weights_.target(0);
    if (i < 0) return;
    if (i < WeightCopy<kKernel>::kCopies) {
      const int half = kKernel.halves == 2 ? 0 : walk_.odd();
      ptx::copy_async_16(target + (weights_.target(i) - weights_.target(0)),
                         record_ + weights_.source(0, half) + WeightCopy<kKernel>::source_step(i));
    } else if (i == WeightCopy<kKernel>::kCopies) {
      ptx::copy_async_16_if(weights_.first < kMetadataBytes / 16, target + Stage<kKernel>::kValues,
                            record_ + kValueBytes + weights_.first * 16);
    }
  }

  // From number `first` on: rows beyond the straight-line code, chunks partly or wholly behind the
  // last token, and rows behind the last column, which become zeros.
  __device__ void copy_other_rows(int first) const {
#pragma unroll 1
    for (int i = first; i < my_rows_; ++i) {
      const int row = rows_.row + i * kAtOnce;
      const std::byte* source = x_;
      bool exists = true;
      if constexpr (kGathered) {
        source += std::uint64_t{column(i)} * row_bytes_;
      } else {
        exists = row < cols_left_;
        if (exists) source += std::uint64_t{row_bytes_} * static_cast<std::uint32_t>(i * kAtOnce);
      }
      const std::uint32_t target = stage_ + Stage<kKernel>::kRows + rows_.target(i);
#pragma unroll
      for (int part = 0; part < kOfRow; ++part) {
        const int left = exists ? left_ - part * 128 : 0;
        ptx::copy_async_16(target + part * 128,
                           left > 0 ? source + part * 128 : static_cast<const std::byte*>(p_.x),
                           left <= 0   ? 0
                           : left < 16 ? left
                                       : 16);
      }
    }
  }

  const ProductArguments& p_;
  int thread_;
  RowCopy<kKernel> rows_;
  WeightCopy<kKernel> weights_;
  std::uint32_t row_bytes_;
  StageWalk walk_;
  // Of the tile that is copied, from its present stage on.
  const std::byte* record_ = nullptr;
  const std::byte* x_ = nullptr;      // this thread's chunk of its first row; gathered: of column 0
  int left_ = 0;                      // bytes up to the last token, from this chunk on
  int my_rows_ = 0, whole_rows_ = 0;  // of this thread, in a stage; none if chunks are not whole
  int cols_left_ = 0;                 // not for gathered rows
  // Of the stage that is copied.
  std::uint32_t stage_ = 0, entries_ = 0, first_column_ = 0;
  int straight_ = 0;  // rows for the slots
  const std::byte* sources_[kStraight];
  std::uint32_t columns_[kStraight];
};

}  // namespace coppice::cuda::mma
