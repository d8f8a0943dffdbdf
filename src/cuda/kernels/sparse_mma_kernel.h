// Products of 2-of-4 weights by mma.sp (sm_80 and later): the multiplying side and the kernel.
//
// Eight warps of a multiprocessor (one thread block of 8, or several smaller ones) multiply 64 rows
// x 64 tokens each. Activations lie in shared memory row by row (a row = one column of the weight,
// all tokens of the tile), and ldmatrix takes any eight rows for an 8x8 block: a gather out of
// shared memory costs nothing but bank conflicts. So vectors can share the rows of all columns of a
// step's groups (window), or every vector has the rows of its own columns (gathered).
//
// All warps copy and multiply. Every stage of shared memory has a barrier at which its copies
// arrive when they have landed, and warps when they have read the stage before it; they go on
// multiplying what is in registers while they wait for the others. What the next group of products
// needs is read while the present one is multiplied, and copies are issued one by one between
// products: a burst of them would hold up the reads behind it, which take the same way.
//
// Thread blocks are persistent: the copies of the next tile are under way while one is stored.
#pragma once

#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/sparse_mma_loader.h"
#include "cuda/ptx/mma.h"

namespace coppice::cuda::mma {

/// The ring of stages.
struct Ring {
  std::uint32_t first, end, stage_bytes;
  __device__ std::uint32_t after(std::uint32_t stage) const {
    return stage + stage_bytes == end ? first : stage + stage_bytes;
  }
  __device__ std::uint32_t last() const { return end - stage_bytes; }
};

/// One warp's products and copies.
template <MmaKernel kKernel, Dtype kType>
class Multiplier {
 public:
  static constexpr int kVectors = kKernel.vectors;
  static constexpr int kCount = 32;             // sums a lane has of a unit: 64 tokens
  static constexpr int kGroups = 2 * kVectors;  // (vector, half of the tokens): products of a turn
  using Sums = float[kBlockUnits][kCount];

  __device__ Multiplier(const ProductArguments& p, const Ring& ring, int thread)
      : p_(p),
        ring_(ring),
        loader_(p, thread),
        lane_(thread % 32),
        row_warp_(thread / 32 / kKernel.token_warps),
        token_warp_(thread / 32 % kKernel.token_warps),
        values_(row_warp_ * At::kBlock + value_address<kKernel>(lane_, 0)),
        words_(row_warp_ * At::kBlock + At::kValues + lane_ * 4),
        stage_(ring.first),
        filling_(ring.last()) {}

  /// Copies the first stages, all but one.
  __device__ void start() {
    constexpr int kLists = kKernel.lists() * At::kList;
    const std::uint32_t lists = ring_.last() + At::kRows;  // of the first stages: there meanwhile
    if constexpr (Loader<kKernel>::kListed) {
      for (int i = 0; i < lists_ahead(kKernel, p_.stages); ++i)
        loader_.copy_lists(lists + i * kLists);
      __syncthreads();
      read_entries(lists);
    }
    std::uint32_t stage = ring_.first;
    for (int i = 0; i < p_.stages - 1; ++i) {
      loader_.begin(stage, lists + i * kLists);
#pragma unroll
      for (int slot = 0; slot < Loader<kKernel>::kSlots; ++slot) loader_.copy(slot);
      loader_.finish();
      ptx::barrier_arrive_on_copies(stage + At::kBarrier);
      stage = ring_.after(stage);
    }
    // The last stage is free, and the first has arrived.
    __syncthreads();
    ptx::barrier_arrive(stage_ + At::kBarrier);
    ptx::barrier_wait(stage_ + At::kBarrier, parity_);
    loader_.begin(filling_, stage_ + At::kLists);
    // As if after the last group of a stage.
#pragma unroll
    for (int slot = 0; slot < kLastSlots; ++slot) loader_.copy(slot);
  }

  /// All products of a tile.
  __device__ void multiply(int row_tile, Sums& d) {
    if (p_.steps == 0) return;
    enter_tile(row_tile);
    read_rows(0);
    read_weights<0, 0>(0);
    read_activations(0, 0);
    int step = 0;
#pragma unroll 1
    while (true) {
      turn<0, 0>(true, d);
      turn<1, 0>(++step < p_.steps, d);
      if (step == p_.steps) break;
      if constexpr (kKernel.halves == 2) {
        turn<0, 1>(true, d);
        turn<1, 1>(++step < p_.steps, d);
        if (step == p_.steps) break;
      }
    }
  }

 private:
  using At = Stage<kKernel>;
  static constexpr int kLastSlots = 4 / kVectors;  // copied during the last group of a stage

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
          entered_ = ptx::barrier_test(stage_ + At::kBarrier, parity_);
        multiply_tokens<kHalf, kTurn>(g, j, d);
        copy_after<kHalf>(g, j);
      }
    }
  }

  template <int kHalf>
  __device__ void copy_after(int group, int j) {
    if ((4 * group + j) % kVectors != 0) return;
    constexpr int kPlaces = 8 * kKernel.halves;
    const int place = (kKernel.halves == 1 ? 0 : 8 * kHalf) + (4 * group + j) / kVectors;
    if (place >= kPlaces - kLastSlots)
      loader_.copy(place - (kPlaces - kLastSlots));
    else if (place < kPlaces - 2 * kLastSlots)
      loader_.copy(place + kLastSlots);
  }

  // This warp has read the stage, and has issued its copies of another.
  __device__ void leave_stage() {
    if constexpr (Loader<kKernel>::kListed) read_entries(stage_ + At::kLists);
    loader_.finish();
    ptx::barrier_arrive_on_copies(filling_ + At::kBarrier);
    filling_ = stage_;
    stage_ = ring_.after(stage_);
    if (stage_ == ring_.first) parity_ ^= 1;
    ptx::barrier_arrive(stage_ + At::kBarrier);
  }

  // When all copies of a stage have landed, and all warps have left the stage before it, this one
  // can be read and that one filled.
  __device__ void enter_stage() {
    if (!entered_) ptx::barrier_wait(stage_ + At::kBarrier, parity_);
    loader_.begin(filling_, stage_ + At::kLists);
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
    column_ = 0;
  }

  // Of the next stage's lists, while the stage before it is there.
  __device__ void read_entries(std::uint32_t lists) {
    if constexpr (kKernel.rows == MmaRows::window) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v)
#pragma unroll
        for (int half = 0; half < kKernel.halves; ++half)
          entry_[half][v] = ptx::load_shared_2(lists + (row_warp_ * kVectors + v) * At::kList +
                                               (half * kHalfCols + lane_) * kEntryBytes);
    }
  }

  // Where this lane's row of the half-step is.
  __device__ void read_rows(int half) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kKernel.rows == MmaRows::window) {
        const int row = window_row(entry_[half][v], column_, p_.stage_rows);
        rows_[v] = stage_ + At::kRows + row_address<kKernel>(row, token_warp_);
      } else {
        rows_[v] = stage_ + rows_of_[v] + half * (kHalfCols * At::kPitch);
      }
    }
    if (kKernel.rows == MmaRows::window && half == kKernel.halves - 1) column_ += p_.stage_rows;
  }

  // A word of metadata serves both halves of a step: with both in a stage it is read once.
  template <int kHalf, int kTurn>
  __device__ void read_weights(int half) {
#pragma unroll
    for (int u = 0; u < kBlockUnits; ++u) {
      ptx::load_matrix_4(a_[kHalf][u],
                         stage_ + values_ + u * kUnitValues<kKernel> + half * kHalfValues<kKernel>);
      if (half == 0)
        metadata_[words(kHalf, kTurn)][u] = ptx::load_shared(stage_ + words_ + u * 128);
    }
  }
  static constexpr int words(int half, int turn) { return kKernel.halves == 2 ? turn : half; }

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
  const Ring& ring_;
  Loader<kKernel> loader_;
  int lane_, row_warp_, token_warp_;
  std::uint32_t values_, words_;  // this lane's, in a stage
  std::uint32_t rows_of_[kVectors];
  std::uint32_t stage_, filling_;  // that is read, that is copied
  std::uint32_t parity_ = 0;       // of the stage's barrier
  bool entered_ = false;
  int column_ = 0;  // the first of the window that is read
  std::uint32_t entry_[2][kVectors], rows_[kVectors];
  std::uint32_t a_[2][kBlockUnits][4], metadata_[2][kBlockUnits];
  std::uint32_t b_[2][4][4];
};

template <int kIndex, Dtype kType>
__global__ void __launch_bounds__(kMmaKernels[kIndex].threads(),
                                  kMmaKernels[kIndex].thread_blocks())
    sparse_mma_kernel(const __grid_constant__ ProductArguments p) {
  constexpr MmaKernel kKernel = kMmaKernels[kIndex];
  extern __shared__ __align__(128) std::byte shared_memory[];
  const std::uint32_t shared = (ptx::shared_address(shared_memory) + 127) / 128 * 128;
  const std::uint32_t stage_bytes =
      Stage<kKernel>::kRows + static_cast<std::uint32_t>(p.stage_rows) * Stage<kKernel>::kPitch;
  const Ring ring{shared, shared + p.stages * stage_bytes, stage_bytes};
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  // Arrivals: of every thread's copies, and of every thread when it has left the stage before.
  if (thread < p.stages)
    ptx::barrier_init(shared + thread * stage_bytes + Stage<kKernel>::kBarrier,
                      2 * kKernel.threads());
  __syncthreads();
  Multiplier<kKernel, kType> multiplier(p, ring, thread);
  if (p.steps > 0) multiplier.start();
  const int tiles = p.row_tile_count * p.token_tile_count;
#pragma unroll 1
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const TilePlace place = tile_place(tile, p.row_tile_count, p.token_tile_count, p.token_group);
    float d[kBlockUnits][32] = {};
    multiplier.multiply(place.row_tile, d);
    const int block = place.row_tile * kKernel.row_warps + warp / kKernel.token_warps;
    const int token = place.token_tile * kKernel.tile_tokens() + warp % kKernel.token_warps * 64;
    UnitOutput out[kBlockUnits];
#pragma unroll
    for (int u = 0; u < kBlockUnits; ++u)
      out[u] =
          unit_output<kType>(p, block < p.block_count ? block * kBlockUnits + u : -1, token, lane);
    store_units<kType>(p.epilogue, out, d, lane);
  }
  ptx::copy_async_wait<0>();
}

}  // namespace coppice::cuda::mma
