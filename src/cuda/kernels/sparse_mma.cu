// Products of 2-of-4 weights by mma.sp (sm_80 and later).
//
// A thread block multiplies 256 rows by 128 or 64 tokens with 8 warps of 64 rows x 64 or 32 tokens.
// Activations of a k32 step lie in shared memory row by row (a row = one column of the weight, all
// tokens of the tile), and ldmatrix takes any eight rows for an 8x8 block: a gather out of shared
// memory costs nothing but bank conflicts. So vectors of 64 rows and fewer can share one dense tile
// of all columns of the step's groups ("shared": L2 traffic does not grow with the number of
// vectors, but with M), or every vector has rows of its own, gathered by cp.async ("gathered", for
// large M, several column segments or a permutation).
#include <type_traits>

#include "cuda/check.h"
#include "cuda/kernels/columns.h"
#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/sparse_mma.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpColumns = 2;           // warps along the tokens; 4 along the rows
constexpr int kHalfCols = kStepCols / 2;  // columns of a k32 step
constexpr int kHalfQuads = kHalfCols / 4;
constexpr int kHalfValues = kValueBytes / 2;
constexpr int kBlocks = MmaShape::kBlocks;

/// What a kernel is compiled for.
struct Config {
  bool gathered;
  int vectors;      // in a block of 64 rows: 1, 2 or 4
  int warp_tokens;  // 64 or 32
  Dtype type;

  constexpr int tile_tokens() const { return warp_tokens * kWarpColumns; }
  constexpr int pitch() const { return tile_tokens() * 2; }
  constexpr int chunks() const { return tile_tokens() / 8; }  // 16 bytes, of a row
  constexpr int lists() const { return kBlocks * vectors; }
};

/// Offsets in a stage: rows of activations, then values, metadata and column lists.
template <Config kConfig>
struct Stage {
  std::uint32_t rows, values, metadata, lists;
  __device__ Stage(std::uint32_t shared, int stage, int stage_rows) {
    rows = shared + stage * (stage_rows * kConfig.pitch() + MmaShape::kFixedBytes);
    values = rows + stage_rows * kConfig.pitch();
    metadata = values + kBlocks * kHalfValues;
    lists = metadata + kBlocks * kMetadataBytes;
  }
};

/// One thread's copies of k32 steps, in order. All that does not change from step to step is
/// computed once: the loop has as many instructions for copies as for products.
template <Config kConfig>
class Loader {
 public:
  static constexpr int kRowsAtOnce = kThreads / kConfig.chunks();
  static constexpr int kGatheredRows = kConfig.lists() * kHalfCols / kRowsAtOnce;
  static constexpr int kValueChunks = kHalfValues / 16;  // of a block
  static constexpr int kValueCopies = kBlocks * kValueChunks / kThreads;
  static constexpr int kMetadataChunks = kMetadataBytes / 16;

  __device__ Loader(const ProductArguments& p, const TilePlace& place, int thread)
      : p_(p),
        row_(thread / kConfig.chunks()),
        first_block_(place.row_tile * kBlocks),
        blocks_(min(kBlocks, p.block_count - first_block_)) {
    const int chunk = thread % kConfig.chunks();
    const int token = place.token_tile * kConfig.tile_tokens() + chunk * 8;
    const int left = (p.tokens - token) * 2;
    valid_ = left <= 0 ? 0 : left < 16 ? left : 16;
    x_ = static_cast<const std::byte*>(p.x) + (valid_ ? 2 * token : 0);
    // Row r has its 16-byte chunk c at c ^ r % 8 (within 128 bytes); kRowsAtOnce is a multiple
    // of 8.
    row_target_ = row_ * kConfig.pitch() + (chunk ^ row_ % 8) * 16;
    place_weight(thread);
    if constexpr (kConfig.gathered) {
#pragma unroll
      for (int i = 0; i < kGatheredRows; ++i)
        lists_[i] =
            p.columns.data == nullptr ? nullptr : list((row_ + i * kRowsAtOnce) / kHalfCols);
      fetch_columns(0);
    } else if (p.columns.data != nullptr && thread < kConfig.lists() * kHalfQuads) {
      list_ = list(thread / kHalfQuads);
      list_quad_ = thread % kHalfQuads;
      list_target_ = thread * 8;
      fetch_quad(0);
    }
  }

  __device__ void copy(const Stage<kConfig>& stage, int half_step) {
    copy_weight(stage, half_step);
    if constexpr (kConfig.gathered) {
#pragma unroll
      for (int i = 0; i < kGatheredRows; ++i) copy_row(stage, i, gathered_column(half_step, i));
      fetch_columns(half_step + 1);
    } else {
      if (list_ != nullptr) {
        ptx::store_shared(stage.lists + list_target_,
                          quad_columns(p_, next_quad_, half_step * kHalfQuads + list_quad_));
        fetch_quad(half_step + 1);
      }
      const int first = half_step * p_.stage_rows + row_;
      const int count = (p_.stage_rows - row_ + kRowsAtOnce - 1) / kRowsAtOnce;
#pragma unroll 4
      for (int i = 0; i < count; ++i) copy_row(stage, i, min(first + i * kRowsAtOnce, p_.cols - 1));
    }
  }

 private:
  static_assert(kRowsAtOnce % 8 == 0);

  __device__ void copy_row(const Stage<kConfig>& stage, int i, int column) const {
    ptx::copy_async_16(
        stage.rows + row_target_ + i * (kRowsAtOnce * kConfig.pitch()),
        x_ + static_cast<std::uint64_t>(column) * static_cast<std::uint32_t>(p_.x_stride * 2),
        valid_);
  }
  __device__ const std::byte* list(int which) const {
    const int block = which / kConfig.vectors, part = which % kConfig.vectors;
    const int unit = (first_block_ + min(block, blocks_ - 1)) * kBlockUnits +
                     part * (kBlockUnits / kConfig.vectors);
    return column_list(p_, p_.units[unit].vector);
  }
  __device__ void fetch_columns(int half_step) {
    if (half_step >= 2 * p_.steps) return;
#pragma unroll
    for (int i = 0; i < kGatheredRows; ++i)
      next_[i] = lists_[i] != nullptr ? load_place(p_, lists_[i], place(half_step, i)) : 0;
  }
  __device__ int place(int half_step, int i) const {
    return half_step * kHalfCols + (row_ + i * kRowsAtOnce) % kHalfCols;
  }
  __device__ int gathered_column(int half_step, int i) const {
    if (lists_[i] == nullptr) return min(place(half_step, i), p_.cols - 1);
    return static_cast<int>(place_column(p_, next_[i], place(half_step, i)));
  }
  __device__ void fetch_quad(int half_step) {
    if (half_step < 2 * p_.steps)
      next_quad_ = load_quad(p_, list_, half_step * kHalfQuads + list_quad_);
  }
  // Of every 8 rows of a record, the 256 bytes of a half; and all its metadata.
  __device__ void place_weight(int thread) {
    const auto record = [&](int block) {
      return p_.records + static_cast<std::int64_t>(first_block_ + block) * p_.steps * kRecordBytes;
    };
#pragma unroll
    for (int i = 0; i < kValueCopies; ++i) {
      const int at = thread + i * kThreads, block = at / kValueChunks, chunk = at % kValueChunks;
      values_[i] =
          block < blocks_ ? record(block) + chunk / 16 * kCoreRowBytes + chunk % 16 * 16 : nullptr;
    }
    value_target_ = thread * 16;
    const int block = thread / kMetadataChunks;
    if (block < blocks_) metadata_ = record(block) + kValueBytes + thread % kMetadataChunks * 16;
  }
  __device__ void copy_weight(const Stage<kConfig>& stage, int half_step) const {
    const std::int64_t record = static_cast<std::int64_t>(half_step / 2) * kRecordBytes;
#pragma unroll
    for (int i = 0; i < kValueCopies; ++i)
      if (values_[i] != nullptr)
        ptx::copy_async_16(stage.values + value_target_ + i * (kThreads * 16),
                           values_[i] + record + half_step % 2 * (kCoreRowBytes / 2));
    if (metadata_ != nullptr)
      ptx::copy_async_16(stage.metadata + value_target_, metadata_ + record);
  }

  const ProductArguments& p_;
  int row_, first_block_, blocks_;
  std::uint32_t valid_, row_target_, value_target_, list_target_ = 0;
  const std::byte* x_;
  const std::byte* values_[kValueCopies];
  const std::byte* metadata_ = nullptr;
  const std::byte* list_ = nullptr;
  int list_quad_ = 0;
  uint2 next_quad_ = {};
  const std::byte* lists_[kConfig.gathered ? kGatheredRows : 1];
  std::uint32_t next_[kConfig.gathered ? kGatheredRows : 1];
};

/// The products of one warp in one k32 step.
template <Config kConfig, int kSelector, int kCount>
__device__ inline void multiply_step(const ProductArguments& p, const Stage<kConfig>& stage,
                                     int half_step, int warp, int lane,
                                     float (&d)[kBlockUnits][kCount]) {
  const int block = warp / kWarpColumns, tokens = warp % kWarpColumns * kConfig.warp_tokens;
  std::uint32_t a[kBlockUnits][4], metadata[kBlockUnits];
  const std::uint32_t values = stage.values + block * kHalfValues + lane / 8 % 2 * 256 +
                               lane / 16 * kCoreBytes + lane % 8 * 16;
#pragma unroll
  for (int u = 0; u < kBlockUnits; ++u) {
    ptx::load_matrix_4(a[u], values + u * 512);
    metadata[u] = ptx::load_shared(stage.metadata + block * kMetadataBytes + u * 128 + lane * 4);
  }
#pragma unroll
  for (int v = 0; v < kConfig.vectors; ++v) {
    // The row of shared memory that holds column `lane` of the step.
    int row = (block * kConfig.vectors + v) * kHalfCols + lane;
    if constexpr (!kConfig.gathered) {
      row = lane;
      if (p.columns.data != nullptr) {
        const std::uint32_t list = stage.lists + (block * kConfig.vectors + v) * kHalfCols * 2;
        const int place =
            static_cast<int>(ptx::load_shared_2(list + lane * 2)) - half_step * p.stage_rows;
        row = static_cast<unsigned>(place) < static_cast<unsigned>(p.stage_rows) ? place : 0;
      }
    }
    // Chunk j of the warp's tokens: at ((first chunk + j) ^ row % 8) within 128 bytes.
    const std::uint32_t address = stage.rows + row * kConfig.pitch() + tokens * 2 / 128 * 128 +
                                  ((tokens * 2 % 128 / 16) ^ row % 8) * 16;
#pragma unroll
    for (int j = 0; j < kConfig.warp_tokens / 8; ++j) {
      std::uint32_t b[4];
      ptx::load_matrix_4_transposed(b, address ^ j * 16);
      constexpr int kUnits = kBlockUnits / kConfig.vectors;
#pragma unroll
      for (int u = v * kUnits; u < (v + 1) * kUnits; ++u) {
        float(&sums)[4] = *reinterpret_cast<float(*)[4]>(&d[u][4 * j]);
        ptx::sparse_mma<kConfig.type, kSelector>(sums, a[u], b, metadata[u]);
      }
    }
  }
}

__device__ inline void wait_for_stage(int stages) {
  if (stages >= 4)
    ptx::copy_async_wait<2>();
  else if (stages == 3)
    ptx::copy_async_wait<1>();
  else
    ptx::copy_async_wait<0>();
  __syncthreads();
}

template <bool kGathered, int kVectors, int kWarpTokens, Dtype kType>
__global__ void __launch_bounds__(kThreads, 1)
    sparse_mma_kernel(const __grid_constant__ ProductArguments p) {
  constexpr Config kConfig{kGathered, kVectors, kWarpTokens, kType};
  extern __shared__ __align__(128) std::byte shared_memory[];
  const std::uint32_t shared = (ptx::shared_address(shared_memory) + 127) / 128 * 128;
  const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  const TilePlace place =
      tile_place(blockIdx.x, p.row_tile_count, p.token_tile_count, p.token_group);
  Loader<kConfig> loader(p, place, thread);
  float d[kBlockUnits][kWarpTokens / 2] = {};
  const int half_steps = 2 * p.steps;
  for (int i = 0; i < p.stages - 1; ++i) {
    if (i < half_steps) loader.copy(Stage<kConfig>(shared, i, p.stage_rows), i);
    ptx::copy_async_commit();
  }
  int current = 0, loading = p.stages - 1;
  auto turn = [&](int half_step, auto selector) {
    wait_for_stage(p.stages);
    if (half_step + p.stages - 1 < half_steps)
      loader.copy(Stage<kConfig>(shared, loading, p.stage_rows), half_step + p.stages - 1);
    ptx::copy_async_commit();
    multiply_step<kConfig, decltype(selector)::value>(
        p, Stage<kConfig>(shared, current, p.stage_rows), half_step, warp, lane, d);
    if (++current == p.stages) current = 0;
    if (++loading == p.stages) loading = 0;
  };
#pragma unroll 1
  for (int half_step = 0; half_step < half_steps; half_step += 2) {
    turn(half_step, std::integral_constant<int, 0>());
    turn(half_step + 1, std::integral_constant<int, 1>());
  }
  ptx::copy_async_wait<0>();
  const int block = place.row_tile * kBlocks + warp / kWarpColumns;
  const int token = place.token_tile * kConfig.tile_tokens() + warp % kWarpColumns * kWarpTokens;
  UnitOutput out[kBlockUnits];
#pragma unroll
  for (int u = 0; u < kBlockUnits; ++u)
    out[u] =
        unit_output<kType>(p, block < p.block_count ? block * kBlockUnits + u : -1, token, lane);
  store_units<kType>(p.epilogue, out, d, lane);
}

template <bool kGathered, int kVectors, int kWarpTokens>
void launch(Dtype type, const MmaShape& shape, const ProductArguments& arguments,
            cudaStream_t stream) {
  const auto kernel = type == Dtype::f16
                          ? sparse_mma_kernel<kGathered, kVectors, kWarpTokens, Dtype::f16>
                          : sparse_mma_kernel<kGathered, kVectors, kWarpTokens, Dtype::bf16>;
  allow_shared_memory(kernel, shape.shared_bytes());
  const int tiles = arguments.row_tile_count * arguments.token_tile_count;
  kernel<<<tiles, kThreads, shape.shared_bytes(), stream>>>(arguments);
  check(cudaGetLastError(), "launching a sparse mma product");
}

}  // namespace

void launch_sparse_mma(const MmaShape& shape, Dtype type, const ProductArguments& arguments,
                       cudaStream_t stream) {
  if (shape.gathered) {
    if (shape.vectors == 1) return launch<true, 1, 32>(type, shape, arguments, stream);
    if (shape.vectors == 2) return launch<true, 2, 32>(type, shape, arguments, stream);
    return launch<true, 4, 32>(type, shape, arguments, stream);
  }
  if (shape.vectors == 1) return launch<false, 1, 64>(type, shape, arguments, stream);
  if (shape.vectors == 2) return launch<false, 2, 64>(type, shape, arguments, stream);
  return launch<false, 4, 64>(type, shape, arguments, stream);
}

}  // namespace coppice::cuda
