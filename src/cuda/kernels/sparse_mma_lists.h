// Column lists in the mma kernels: which ones a tile has, and how they come to shared memory and
// are decoded there. They are copied like everything else, as they are packed: a load to a register
// would wait behind all copies under way.
#pragma once

#include "cuda/kernels/arguments.h"
#include "cuda/kernels/columns.h"
#include "cuda/kernels/sparse_mma_layout.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda::mma {

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
  /// Whether this is a tile's last stage.
  __device__ bool last() const { return left_ == 1; }
  /// To the next stage, if this is not the last.
  __device__ void advance_in_tile() { --left_; }
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

/// The lists of a tile: consecutive vectors, each once. Every lane of the warp holds the same.
template <MmaKernel kKernel>
class TileLists {
 public:
  __device__ TileLists(const ProductArguments& p, int row_tile, int lane) : p_(&p) {
    constexpr int kParts = kKernel.lists();
    const int part = lane < kParts ? lane : kParts - 1;
    const int unit =
        row_tile * (kKernel.row_warps * kBlockUnits) + part * (kBlockUnits / kKernel.vectors);
    vector_ = __ldg(&p.units[min(unit, p.block_count * kBlockUnits - 1)].vector);
    const int before = __shfl_up_sync(0xffffffffu, vector_, 1);
    changes_ = __ballot_sync(0xffffffffu, lane > 0 && vector_ != before);
  }
  __device__ int count() const { return __popc(changes_) + 1; }
  /// Which list a part (block * vectors + vector in the block) of the tile uses.
  __device__ int list_of(int part) const { return __popc(changes_ & ((2u << part) - 1)); }
  /// The first part that uses a list.
  __device__ int part_of(int list) const {
    std::uint32_t left = changes_;
#pragma unroll 1
    for (int i = 1; i < list; ++i) left &= left - 1;
    return list == 0 ? 0 : __ffs(left) - 1;
  }
  /// The packed list of a part; for all lanes of the warp at once.
  __device__ const std::byte* list(int part) const {
    return column_list(*p_, __shfl_sync(0xffffffffu, vector_, part));
  }

 private:
  const ProductArguments* p_;
  int vector_;  // of the part with the lane's number
  std::uint32_t changes_;
};

/// Copies of packed lists: eight threads a list, of which as many copy as a quad has bytes.
template <MmaKernel kKernel>
class ListCopy {
 public:
  __device__ ListCopy(const ProductArguments& p, int thread)
      : p_(p), thread_(thread), walk_(p, p.steps * 2 / kKernel.halves) {
    if constexpr (kExist) enter_tile();
  }

  /// The lists of the next stage, to where its packed lists are to lie.
  __device__ void copy(std::uint32_t target) {
    ptx::copy_async_if<kChunk>(source_step_ != 0,
                               target + thread_ / 8 * Stage<kKernel>::kList + thread_ % 8 * kChunk,
                               source_);
  }
  __device__ void advance() {
    source_ += source_step_;
    if (walk_.advance(p_)) [[unlikely]]
      enter_tile();
  }

 private:
  static constexpr bool kExist = has_lists(kKernel);
  static constexpr int kChunk = kKernel.places() / 4;  // bytes; a thread copies one
  static_assert(!kExist || 8 * kKernel.lists() <= kKernel.threads());

  __device__ void enter_tile() {
    const TileLists<kKernel> tile(p_, walk_.place(p_).row_tile, thread_ % 32);
    // Windows: every part has a list of its own, so that warps need not look for it.
    const int list = thread_ / 8;
    const int lists = decodes_lists(kKernel) ? tile.count() : kKernel.lists();
    const bool exists = list < lists;
    const int part = decodes_lists(kKernel) && exists ? tile.part_of(list) : list;
    const std::byte* source = tile.list(exists ? part : 0) + thread_ % 8 * kChunk;
    source_ = source;
    source_step_ =
        exists && thread_ % 8 < p_.columns.quad_bytes ? kChunk * p_.columns.quad_bytes : 0;
  }

  const ProductArguments& p_;
  int thread_;
  StageWalk walk_;
  const std::byte* source_ = nullptr;  // of the thread's next chunk
  std::uint32_t source_step_ = 0;      // 0: it has none
};

/// Bits of place `place` of a stage's packed list.
__device__ inline std::uint32_t load_listed(const ProductArguments& p, std::uint32_t list,
                                            int place) {
  const PackedPlace at = packed_place(place, p.columns.quad_bytes);
  list += at.byte;
  return (ptx::load_shared_1(list) | ptx::load_shared_1(list + 1) << 8) >> at.shift;
}
__device__ inline std::uint32_t listed_column(const ProductArguments& p, std::uint32_t bits,
                                              int place) {
  return listed_column(bits, place, p.columns.quad_bytes, p.columns.group);
}

/// Lists of gathered rows as columns of 16 bits: every thread decodes as many of a stage.
template <MmaKernel kKernel>
class ListDecoder {
 public:
  __device__ explicit ListDecoder(int thread)
      : list_(thread * kColumns / kKernel.places() % kKernel.lists() * Stage<kKernel>::kList),
        place_(thread * kColumns % kKernel.places()),
        target_(thread * kColumns * kEntryBytes) {}

  __device__ void load(const ProductArguments& p, std::uint32_t packed_lists) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) bits_[i] = load_listed(p, packed_lists + list_, place_ + i);
  }
  __device__ void store(const ProductArguments& p, std::uint32_t lists) const {
#pragma unroll
    for (int i = 0; i < kColumns; ++i)
      ptx::store_shared_2_if(target_ < Stage<kKernel>::kAllLists, lists + target_ + i * kEntryBytes,
                             listed_column(p, bits_[i], place_ + i));
  }

 private:
  static constexpr int kColumns = kKernel.vectors;
  static_assert(!decodes_lists(kKernel) ||
                kKernel.lists() * kKernel.places() <= kKernel.threads() * kColumns);
  std::uint32_t list_;  // where it starts
  int place_;
  std::uint32_t target_;
  std::uint32_t bits_[kColumns] = {};
};

}  // namespace coppice::cuda::mma
