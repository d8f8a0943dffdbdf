// The copying side of the mma kernels: every thread copies its part of every stage, some stages
// ahead of the products, across the tiles of its thread block.
#pragma once

#include "cuda/kernels/arguments.h"
#include "cuda/kernels/columns.h"
#include "cuda/kernels/sparse_mma_layout.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda::mma {

/// The lists of a tile: consecutive vectors, each once. Every lane of the warp holds the same.
template <MmaKernel kKernel>
class TileLists {
 public:
  __device__ TileLists(const ProductArguments& p, int row_tile, int lane) : p_(&p) {
    first_unit_ = row_tile * (kKernel.row_warps * kBlockUnits);
    constexpr int kParts = kKernel.lists();
    const int part = lane < kParts ? lane : kParts - 1;
    const int mine = vector(part), before = vector(part > 0 ? part - 1 : 0);
    changes_ = __ballot_sync(0xffffffffu, lane < kParts && mine != before);
  }
  __device__ int count() const { return __popc(changes_) + 1; }
  /// Which list a part (block * vectors + vector in the block) of the tile uses.
  __device__ int list_of(int part) const { return __popc(changes_ & ((2u << part) - 1)); }
  /// The entries of a list.
  __device__ const std::byte* entries(int list) const {
    std::uint32_t left = changes_;
    for (int i = 1; i < list; ++i) left &= left - 1;
    const int part = list == 0 ? 0 : __ffs(left) - 1;
    return column_list(*p_, vector(part));
  }

 private:
  __device__ int vector(int part) const {
    const int unit = first_unit_ + part * (kBlockUnits / kKernel.vectors);
    return __ldg(&p_->units[min(unit, p_->block_count * kBlockUnits - 1)].vector);
  }

  const ProductArguments* p_;
  int first_unit_;
  std::uint32_t changes_;
};

/// Stages of all tiles of a thread block, one after the other; then those of the last tile again
/// and again, so that copies need not be conditional.
class StageWalk {
 public:
  __device__ StageWalk(const ProductArguments& p, int stages_of_tile)
      : stages_(stages_of_tile), left_(stages_of_tile), tile_(blockIdx.x) {}
  __device__ int stage() const { return stages_ - left_; }
  __device__ bool odd() const { return (stages_ - left_) % 2 != 0; }
  __device__ TilePlace place(const ProductArguments& p) const {
    return tile_place(tile_, p.row_tile_count, p.token_tile_count, p.token_group);
  }
  /// To the next stage. @returns whether it is the first of a tile.
  __device__ bool advance(const ProductArguments& p) {
    if (--left_ > 0) return false;
    left_ = stages_;
    const int next = tile_ + static_cast<int>(gridDim.x);
    if (next < p.row_tile_count * p.token_tile_count) tile_ = next;
    return true;
  }

 private:
  int stages_, left_, tile_;
};

/// Copies of one stage after the other. A stage is cut into slots, to be issued between products:
/// straight-line code for whole chunks of rows, as many as most weights have.
template <MmaKernel kKernel>
class Loader {
 public:
  static constexpr bool kListed = kKernel.rows != MmaRows::in_order;
  static constexpr bool kGathered = kKernel.rows == MmaRows::gathered;
  static constexpr int kSlots = copy_slots(kKernel);

  __device__ Loader(const ProductArguments& p, int thread)
      : p_(p),
        thread_(thread),
        rows_(thread),
        weights_(thread),
        row_bytes_(static_cast<std::uint32_t>(p.x_stride * 2)),
        walk_(p, p.steps * 2 / kKernel.halves),
        list_walk_(walk_) {
    enter_tile();
    if constexpr (kListed) {
      enter_list_tile();
      fetch_quad();
    }
  }

  /// Begins the next stage; `lists` is where the lists of gathered rows are.
  __device__ void begin(std::uint32_t stage, std::uint32_t lists) {
    stage_ = stage;
    straight_ = kGathered || cols_left_ >= row_count() ? whole_rows_ : 0;
    entries_ = lists + rows_.row * kEntryBytes;
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

  /// What the slots left out, the lists, and on to the next stage.
  __device__ void finish() {
    if (const int first = straight_ > 0 ? kStraight : 0; first < my_rows_) copy_other_rows(first);
    if constexpr (kListed) copy_lists(stage_ + Stage<kKernel>::kLists);
    if (kKernel.halves == 2 || walk_.odd()) record_ += kRecordBytes;
    if constexpr (!kGathered) {
      x_ += std::uint64_t{row_bytes_} * static_cast<std::uint32_t>(row_count());
      cols_left_ -= row_count();
    }
    if (walk_.advance(p_)) enter_tile();
  }

  /// Writes the lists of the next stage whose lists were not written yet.
  __device__ void copy_lists(std::uint32_t target) {
    if (list_ != nullptr)
      ptx::store_shared(target + thread_ * kColumnQuadBytes, quad_columns(p_, quad_, list_quad()));
    if (list_walk_.advance(p_)) enter_list_tile();
    fetch_quad();
  }

 private:
  static constexpr int kAtOnce = RowCopy<kKernel>::kRowsAtOnce;
  static constexpr int kOfRow = RowCopy<kKernel>::kOfRow;
  // Rows of a thread in straight-line code.
  static constexpr int kStraight =
      kKernel.rows == MmaRows::in_order ? kKernel.places() / kAtOnce : 4;
  static constexpr int kChunksPerSlot = (kStraight * kOfRow + kSlots - 1) / kSlots > 1 ? kOfRow : 1;
  static_assert(kChunksPerSlot * kSlots >= kStraight * kOfRow);
  static constexpr int kWeights = WeightCopy<kKernel>::kCopies + 1;  // and metadata
  static constexpr int kWeightsPerSlot = (kWeights + kSlots - 1) / kSlots;
  // After the rows, if there are slots enough: many copies at once hold up the reads behind them.
  static constexpr int kRowSlots = kStraight * kOfRow / kChunksPerSlot;
  static constexpr int kFirstWeights = kRowSlots + kWeights <= kSlots ? kRowSlots : 0;
  static constexpr int kListQuads = kKernel.places() / 4;
  static_assert(kKernel.lists() * kListQuads <= kKernel.threads());

  __device__ int row_count() const {
    if constexpr (kKernel.rows == MmaRows::in_order) return kKernel.places();
    return p_.stage_rows;
  }
  __device__ std::uint32_t column(int i) const {
    return ptx::load_shared_2(entries_ + i * kAtOnce * kEntryBytes);
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

  __device__ void enter_list_tile() {
    const TileLists<kKernel> tile(p_, list_walk_.place(p_).row_tile, thread_ % 32);
    const int list = thread_ / kListQuads;
    if (kGathered)
      list_ = list < tile.count() ? tile.entries(list) : nullptr;
    else  // every part has a list of its own, so that warps need not look for it
      list_ = list < kKernel.lists() ? tile.entries(tile.list_of(list)) : nullptr;
  }

  // This thread's quad of columns in its list.
  __device__ int list_quad() const {
    return list_walk_.stage() * kListQuads + thread_ % kListQuads;
  }
  // Long before it is written.
  __device__ void fetch_quad() {
    if (list_ != nullptr) quad_ = load_quad(p_, list_, list_quad());
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
  StageWalk walk_, list_walk_;
  // Of the tile that is copied, from its present stage on.
  const std::byte* record_ = nullptr;
  const std::byte* x_ = nullptr;      // this thread's chunk of its first row; gathered: of column 0
  int left_ = 0;                      // bytes up to the last token, from this chunk on
  int my_rows_ = 0, whole_rows_ = 0;  // of this thread, in a stage; none if chunks are not whole
  int cols_left_ = 0;                 // not for gathered rows
  const std::byte* list_ = nullptr;   // that this thread writes a quad of
  uint2 quad_ = {};
  // Of the stage that is copied.
  std::uint32_t stage_ = 0, entries_ = 0;
  int straight_ = 0;  // rows for the slots
  const std::byte* sources_[kStraight];
  std::uint32_t columns_[kStraight];
};

}  // namespace coppice::cuda::mma
