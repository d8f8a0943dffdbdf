// Vector- and block-wise N:M: the N blocks of largest sum in every vector and group, ties to the
// lower block. Sums are taken in double precision, first down the rows of a column and then along
// the columns of a block, as on the CPU. Three kernels: sums, choices, and the weights kept.
#include "cuda/check.h"
#include "cuda/compress/weight.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr unsigned kAll = 0xffffffffu;

/// A (vector, group) for each warp.
struct Place {
  std::int32_t vector, group;
};
__device__ inline Place place_of(const CompressArguments& a, std::int64_t index) {
  const std::int64_t vector = index / a.group_count;
  return {static_cast<std::int32_t>(vector),
          static_cast<std::int32_t>(index - vector * a.group_count)};
}
__device__ inline double* sums_of(const CompressArguments& a, const Place& place) {
  return a.block_sums + (std::int64_t{place.vector} * a.group_count + place.group) * a.blocks;
}

/// Magnitudes of a column summed down the rows of a vector.
template <Dtype kType>
__device__ inline double column_sum(const CompressArguments& a, const RowVector& rows,
                                    std::int64_t col) {
  double sum = 0;
#pragma unroll 8
  for (int r = 0; r < rows.rows; ++r) {
    const std::int32_t key = key_of<kType>(__ldg(weight_at<kType>(a, rows.row + r, col)));
    note_nan<kType>(a, key, rows.row + r, col);
    sum += static_cast<double>(Weight<kType>::score(key));
  }
  return sum;
}

/// One warp for a group, 32 columns at a time. A block may run on over several such steps.
template <Dtype kType>
__global__ void __launch_bounds__(kThreads) block_sums_kernel(const CompressArguments a) {
  __shared__ double shared[kWarps][32];
  const int lane = threadIdx.x % 32;
  double* columns = shared[threadIdx.x / 32];
  const std::int64_t all = std::int64_t{a.vector_count} * a.group_count;
  for (std::int64_t w = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; w < all;
       w += std::int64_t{gridDim.x} * kWarps) {
    const Place place = place_of(a, w);
    const RowVector rows = a.vectors[place.vector];
    const ColumnGroup group = a.groups[place.group];
    double* sums = sums_of(a, place);
    double carried = 0;  // sum so far of the block that the step before did not end
    for (int start = 0; start < group.cols; start += 32) {
      const int col = start + lane, end = min(start + 32, group.cols);
      columns[lane] = col < end ? column_sum<kType>(a, rows, group.col + col) : 0;
      __syncwarp();
      const int block = start / group.block_cols + lane;
      const int from = block * group.block_cols, to = from + group.block_cols;
      double sum = from < start ? carried : 0;
      for (int c = max(from, start); c < min(to, end); ++c) sum += columns[c - start];
      if (from < end && to <= end) sums[block] = sum;
      carried = __shfl_sync(kAll, sum, (end - 1) / group.block_cols - start / group.block_cols);
      __syncwarp();
    }
  }
}

/// One warp for a group: lane l ranks blocks l, l + 32, ...
__global__ void __launch_bounds__(kThreads) choose_blocks_kernel(const CompressArguments a) {
  const int lane = threadIdx.x % 32;
  const std::int64_t all = std::int64_t{a.vector_count} * a.group_count;
  for (std::int64_t w = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; w < all;
       w += std::int64_t{gridDim.x} * kWarps) {
    const Place place = place_of(a, w);
    const ColumnGroup group = a.groups[place.group];
    const double* sums = sums_of(a, place);
    int live = 0;  // blocks kept so far
    for (int word = 0; word < a.choice_words; ++word) {
      const int block = 32 * word + lane;
      const bool exists = block < group.blocks;
      const double mine = exists ? sums[block] : 0;
      int before = 0;
      for (int other = 0; other < group.blocks; ++other)
        before += sums[other] > mine || (sums[other] == mine && other < block);
      const bool keep = exists && before < group.kept_blocks;
      const unsigned kept = __ballot_sync(kAll, keep);
      if (lane == 0) a.choices[w * a.choice_words + word] = kept;
      const int at = live + __popc(kept & ((1u << lane) - 1));
      live += __popc(kept);
      if (!keep) continue;
      std::int32_t* list = a.live + std::int64_t{place.vector} * a.live_cols + group.live_col +
                           std::int64_t{at} * group.block_cols;
      const auto first = static_cast<std::int32_t>(group.col) + block * group.block_cols;
      for (int c = 0; c < group.block_cols; ++c) list[c] = first + c;
    }
  }
}

/// One thread for a place among the values of a vector's rows.
template <typename Bits>
__global__ void __launch_bounds__(kThreads) gather_values_kernel(const CompressArguments a) {
  const std::int64_t pieces = (a.live_cols + kThreads - 1) / kThreads;
  for (std::int64_t i = blockIdx.x; i < a.vector_count * pieces; i += gridDim.x) {
    const std::int64_t vector = i / pieces;
    const std::int64_t place = (i - vector * pieces) * kThreads + threadIdx.x;
    if (place >= a.live_cols) continue;
    const RowVector rows = a.vectors[vector];
    const std::int32_t col = a.live[vector * a.live_cols + place];
    const Bits* from = static_cast<const Bits*>(a.dense) + rows.row * a.row_stride + col;
    Bits* to = static_cast<Bits*>(a.values) + rows.row * a.kept + place;
#pragma unroll 4
    for (int r = 0; r < rows.rows; ++r) to[r * a.kept] = __ldg(from + r * a.row_stride);
  }
}

unsigned grid_of(std::int64_t blocks) {
  return static_cast<unsigned>(blocks < (1 << 30) ? blocks : 1 << 30);
}

template <Dtype kType>
void launch(const CompressArguments& a, cudaStream_t stream) {
  const std::int64_t warps = std::int64_t{a.vector_count} * a.group_count;
  const unsigned grid = grid_of((warps + kWarps - 1) / kWarps);
  block_sums_kernel<kType><<<grid, kThreads, 0, stream>>>(a);
  choose_blocks_kernel<<<grid, kThreads, 0, stream>>>(a);
  const std::int64_t pieces = (a.live_cols + kThreads - 1) / kThreads;
  gather_values_kernel<typename Weight<kType>::Bits>
      <<<grid_of(a.vector_count * pieces), kThreads, 0, stream>>>(a);
  check(cudaGetLastError(), "launching vector- or block-wise compression");
}

}  // namespace

void launch_blocks(const CompressArguments& a, Dtype dtype, cudaStream_t stream) {
  if (dtype == Dtype::f16) return launch<Dtype::f16>(a, stream);
  if (dtype == Dtype::bf16) return launch<Dtype::bf16>(a, stream);
  launch<Dtype::f32>(a, stream);
}

}  // namespace coppice::cuda
