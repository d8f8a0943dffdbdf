// Transposes tiles of 128 x 128 16-bit or 64 x 64 32-bit elements: 256-byte rows in, 256-byte rows
// out, and 4 or 8 loads of 16 bytes under way in every thread. A tile passes through swizzled
// shared memory as 16-byte chunks. 16 bits: ldmatrix.trans turns 8x8 blocks, and an exchange
// between four lanes makes 16-byte stores of them. 32 bits: a lane gathers four rows of a column. A
// warp writes whole runs of its columns one after the other: stores of one run spread over the
// warps cost a third. Whole tiles take a way without bounds: checks between the loads cost 15 %.
// H200: docs/performance/compress.md.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/transpose.h"
#include "cuda/ptx/barrier.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kChunks = 16;  // of 16 bytes, in a row of a tile
constexpr int kRun = 32;     // rows of a tile that a warp turns at a time

/// What depends on the size of an element.
template <typename Element>
struct Shape {
  static constexpr int kPerChunk = 16 / static_cast<int>(sizeof(Element));
  static constexpr int kTile = kChunks * kPerChunk;
  static constexpr int kLoads = kTile * kChunks / kThreads;
  static constexpr int kColumnLanes = kRun / kPerChunk;  // lanes that share a column
  /// Element of the first of a chunk: rows that are read together lie in different banks.
  __device__ static int place(int row, int chunk) {
    const int mixed = chunk ^ (sizeof(Element) == 2 ? row : row / 4) % 8;
    return row * kTile + mixed * kPerChunk;
  }
};

template <typename Element, bool kWhole>
__device__ uint4 load_chunk(const TransposeArguments& p, std::int64_t row, std::int64_t col) {
  const Element* from = static_cast<const Element*>(p.from) + row * p.from_stride + col;
  if (kWhole) return __ldg(reinterpret_cast<const uint4*>(from));
  constexpr int kPer = Shape<Element>::kPerChunk;
  uint4 chunk = make_uint4(0, 0, 0, 0);
  if (row >= p.rows || col >= p.cols) return chunk;
  if (p.wide_from && col + kPer <= p.cols) return __ldg(reinterpret_cast<const uint4*>(from));
  std::uint32_t words[4] = {};
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    constexpr int kPerWord = 4 / static_cast<int>(sizeof(Element));
    if (col + i < p.cols)
      words[i / kPerWord] |= static_cast<std::uint32_t>(from[i]) << (16 * (i % kPerWord));
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

/// Rows `row` and on of column `col` of the input.
template <typename Element, bool kWhole>
__device__ void store_chunk(const TransposeArguments& p, std::int64_t row, std::int64_t col,
                            uint4 chunk) {
  constexpr int kPer = Shape<Element>::kPerChunk;
  Element* to = static_cast<Element*>(p.to) + col * p.to_stride + row;
  if (kWhole || (p.wide_to && col < p.cols && row + kPer <= p.to_width)) {
    // 16 bits are activations that a product reads next: they may stay in L2.
    if constexpr (sizeof(Element) == 2)
      *reinterpret_cast<uint4*>(to) = chunk;
    else
      __stcs(reinterpret_cast<uint4*>(to), chunk);
    return;
  }
  if (col >= p.cols) return;
  const std::uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    constexpr int kPerWord = 4 / static_cast<int>(sizeof(Element));
    if (row + i < p.to_width)
      to[i] = static_cast<Element>(words[i / kPerWord] >> (16 * (i % kPerWord)));
  }
}

/// This lane's chunk of the transposed tile: column chunk * kPerChunk + lane / kColumnLanes, rows
/// kRun * part + lane % kColumnLanes * kPerChunk and on.
template <typename Element>
__device__ uint4 turned_chunk(const Element* tile, int chunk, int part, int lane) {
  std::uint32_t v[4];
  if constexpr (sizeof(Element) == 2) {
    ptx::load_matrix_4_transposed(
        v, ptx::shared_address(tile + Shape<Element>::place(kRun * part + lane, chunk)));
    transpose_in_quad(v, lane % 4);
  } else {
    const int row = kRun * part + lane % 8 * 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = tile[Shape<Element>::place(row + i, chunk) + lane / 8];
  }
  return make_uint4(v[0], v[1], v[2], v[3]);
}

template <typename Element, bool kWhole>
__device__ void transpose_tile(const TransposeArguments& p, std::int64_t first_row,
                               std::int64_t first_col, Element* tile) {
  using S = Shape<Element>;
  const int chunk = threadIdx.x % kChunks, row = threadIdx.x / kChunks;
  constexpr int kRows = kThreads / kChunks;
  uint4 loaded[S::kLoads];
#pragma unroll
  for (int i = 0; i < S::kLoads; ++i)
    loaded[i] = load_chunk<Element, kWhole>(p, first_row + row + i * kRows,
                                            first_col + chunk * S::kPerChunk);
#pragma unroll
  for (int i = 0; i < S::kLoads; ++i)
    *reinterpret_cast<uint4*>(tile + S::place(row + i * kRows, chunk)) = loaded[i];
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int c = threadIdx.x / 32; c < kChunks; c += kThreads / 32) {
    const std::int64_t col = first_col + c * S::kPerChunk + lane / S::kColumnLanes;
#pragma unroll
    for (int part = 0; part < S::kTile / kRun; ++part)
      store_chunk<Element, kWhole>(p,
                                   first_row + kRun * part + lane % S::kColumnLanes * S::kPerChunk,
                                   col, turned_chunk(tile, c, part, lane));
  }
}

template <typename Element>
__global__ void __launch_bounds__(kThreads)
    transpose_kernel(const TransposeArguments p, unsigned row_tiles) {
  constexpr int kTile = Shape<Element>::kTile;
  __shared__ __align__(128) Element tile[kTile * kTile];
  const std::int64_t row = std::int64_t{blockIdx.x % row_tiles} * kTile;
  const std::int64_t col = std::int64_t{blockIdx.x / row_tiles} * kTile;
  if (p.wide_from && p.wide_to && row + kTile <= p.rows && col + kTile <= p.cols)
    transpose_tile<Element, true>(p, row, col, tile);
  else
    transpose_tile<Element, false>(p, row, col, tile);
}

__global__ void realign_kernel(const TransposeArguments p) {
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= p.cols) return;
  for (std::int64_t row = blockIdx.y; row < p.rows; row += gridDim.y)
    static_cast<std::uint16_t*>(p.to)[row * p.to_stride + col] =
        static_cast<const std::uint16_t*>(p.from)[row * p.from_stride + col];
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

template <typename Element>
void launch(const TransposeArguments& p, cudaStream_t stream) {
  const std::int64_t rows = ceil_div(std::max(p.rows, p.to_width), Shape<Element>::kTile);
  const std::int64_t cols = ceil_div(p.cols, Shape<Element>::kTile);
  if (rows * cols == 0) return;
  transpose_kernel<Element>
      <<<static_cast<unsigned>(rows * cols), kThreads, 0, stream>>>(p, static_cast<unsigned>(rows));
  check(cudaGetLastError(), "launching a transpose");
}

bool on_16_bytes(const void* data, std::int64_t stride, int element_bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride * element_bytes % 16 == 0;
}

}  // namespace

void launch_transpose(TransposeArguments p, int element_bytes, cudaStream_t stream) {
  p.wide_from = on_16_bytes(p.from, p.from_stride, element_bytes);
  p.wide_to = on_16_bytes(p.to, p.to_stride, element_bytes);
  if (element_bytes == 2)
    launch<std::uint16_t>(p, stream);
  else
    launch<std::uint32_t>(p, stream);
}

void launch_realign(const TransposeArguments& p, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(p.cols, kThreads)),
                  static_cast<unsigned>(std::min<std::int64_t>(p.rows, 65535)));
  realign_kernel<<<grid, kThreads, 0, stream>>>(p);
  check(cudaGetLastError(), "launching the copy of activations");
}

}  // namespace coppice::cuda
