// Transposes tiles of 128 x 128 16-bit or 64 x 64 32-bit elements: 256-byte rows in, 256-byte rows
// out, and 4 or 8 loads of 16 bytes under way in every thread. A tile passes through swizzled
// shared memory as 16-byte chunks. 16 bits: ldmatrix.trans turns 8x8 blocks, and an exchange
// between four lanes makes 16-byte stores of them. 32 bits: a lane gathers four rows of a column. A
// warp writes whole runs of its columns one after the other: stores of one run spread over the
// warps cost a third. Whole tiles take a way without bounds: checks between the loads cost 15 %.
// H200: docs/performance/compress.md.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/transpose_tile.h"

namespace coppice::cuda {
namespace {

template <typename Element>
__global__ void __launch_bounds__(kTileThreads)
    transpose_kernel(const TransposeArguments p, unsigned row_tiles) {
  constexpr int kTile = TileShape<Element>::kTile;
  __shared__ __align__(128) Element tile[kTile * kTile];
  const std::int64_t row = std::int64_t{blockIdx.x % row_tiles} * kTile;
  const std::int64_t col = std::int64_t{blockIdx.x / row_tiles} * kTile;
  if (p.wide_from && p.wide_to && row + kTile <= p.rows && col + kTile <= p.cols)
    transpose_tile<Element, true>(p, row, col, tile, Unchanged{});
  else
    transpose_tile<Element, false>(p, row, col, tile, Unchanged{});
}

template <typename Element>
__global__ void realign_kernel(const TransposeArguments p) {
  const std::int64_t col = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (col >= p.cols) return;
  for (std::int64_t row = blockIdx.y; row < p.rows; row += gridDim.y)
    static_cast<Element*>(p.to)[row * p.to_stride + col] =
        static_cast<const Element*>(p.from)[row * p.from_stride + col];
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

template <typename Element>
void launch(const TransposeArguments& p, cudaStream_t stream) {
  const std::int64_t rows = ceil_div(std::max(p.rows, p.to_width), TileShape<Element>::kTile);
  const std::int64_t cols = ceil_div(p.cols, TileShape<Element>::kTile);
  if (rows * cols == 0) return;
  transpose_kernel<Element><<<static_cast<unsigned>(rows * cols), kTileThreads, 0, stream>>>(
      p, static_cast<unsigned>(rows));
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

void launch_realign(const TransposeArguments& p, int element_bytes, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceil_div(p.cols, kTileThreads)),
                  static_cast<unsigned>(std::min<std::int64_t>(p.rows, 65535)));
  if (element_bytes == 2)
    realign_kernel<std::uint16_t><<<grid, kTileThreads, 0, stream>>>(p);
  else
    realign_kernel<std::uint32_t><<<grid, kTileThreads, 0, stream>>>(p);
  check(cudaGetLastError(), "launching the copy of activations");
}

}  // namespace coppice::cuda
