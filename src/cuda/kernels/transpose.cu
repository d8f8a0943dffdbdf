// Transposes tiles of 128 x 128 16-bit or 64 x 64 32-bit elements: 256-byte rows in, 256-byte rows
// out, and 4 or 8 loads of 16 bytes under way in every thread. A tile passes through swizzled
// shared memory as 16-byte chunks. 16 bits: ldmatrix.trans turns 8x8 blocks, and an exchange
// between four lanes makes 16-byte stores of them. 32 bits: a lane gathers four rows of a column. A
// warp writes whole runs of its columns one after the other: stores of one run spread over the
// warps cost a third. Whole tiles take a way without bounds: checks between the loads cost 15 %.
// H200: docs/performance/compress.md.
//
// Few tokens in front of a product: tiles of 64 x 64, four times as many thread blocks, of which
// those of the product may begin while they are at work (docs/performance/vnm.md).
#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/transpose_tile.h"
#include "cuda/launch.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda {
namespace {

template <typename Element, int kTileChunks>
__global__ void __launch_bounds__(kTileThreads)
    transpose_kernel(const TransposeArguments p, unsigned row_tiles) {
  constexpr int kTile = TileShape<Element, kTileChunks>::kTile;
  __shared__ __align__(128) Element tile[kTile * kTile];
  const std::int64_t row = std::int64_t{blockIdx.x % row_tiles} * kTile;
  const std::int64_t col = std::int64_t{blockIdx.x / row_tiles} * kTile;
  const bool whole = p.wide_from && p.wide_to && row + kTile <= p.rows && col + kTile <= p.cols;
  ptx::let_next_kernel_begin();
  ptx::wait_for_kernels_before();
  if (whole)
    transpose_tile<Element, true, kTileChunks>(p, row, col, tile, Unchanged{});
  else
    transpose_tile<Element, false, kTileChunks>(p, row, col, tile, Unchanged{});
}

// `across` threads beside each other have a chunk of 16 bytes each of a row, the next ones of the
// next row.
template <typename Element>
__global__ void __launch_bounds__(kTileThreads)
    realign_kernel(const TransposeArguments p, unsigned across) {
  constexpr int kPer = TileShape<Element>::kPerChunk;
  const unsigned rows = blockDim.x / across;
  ptx::let_next_kernel_begin();
  ptx::wait_for_kernels_before();
  const std::int64_t col = (std::int64_t{blockIdx.x} * across + threadIdx.x % across) * kPer;
  if (col >= p.cols) return;
  for (std::int64_t row = std::int64_t{blockIdx.y} * rows + threadIdx.x / across; row < p.rows;
       row += std::int64_t{gridDim.y} * rows) {
    const uint4 chunk = load_chunk<Element, false>(p, row, col);
    Element* to = static_cast<Element*>(p.to) + row * p.to_stride + col;
    if (p.wide_to && col + kPer <= p.to_width) {
      *reinterpret_cast<uint4*>(to) = chunk;
      continue;
    }
    const std::uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
    for (int i = 0; i < kPer; ++i)
      if (col + i < p.cols) {
        constexpr int kPerWord = 4 / static_cast<int>(sizeof(Element));
        to[i] = static_cast<Element>(words[i / kPerWord] >> (16 * (i % kPerWord)));
      }
  }
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "finding the current device");
  check(cudaDeviceGetAttribute(&value, which, device), "asking for what the device has");
  return value;
}

// Kernels before Hopper follow each other.
bool device_overlaps() { return attribute(cudaDevAttrComputeCapabilityMajor) >= 9; }

// As much as lets two thread blocks of a kernel that has `used` already be on a multiprocessor.
int half_of_shared(int used) {
  return attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) / 2 -
         attribute(cudaDevAttrReservedSharedMemoryPerBlock) - used;
}

template <typename Element, int kTileChunks>
void launch_tiles(const TransposeArguments& p, cudaStream_t stream) {
  constexpr int kTile = TileShape<Element, kTileChunks>::kTile;
  const std::int64_t rows = ceil_div(std::max(p.rows, p.to_width), kTile);
  const std::int64_t cols = ceil_div(p.cols, kTile);
  if (rows * cols == 0) return;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(rows * cols));
  shape.threads = kTileThreads;
  // Of many tokens, thread blocks that begin beside the kernel before only take its room.
  if (kTileChunks == kFewChunks && device_overlaps()) {
    shape.overlaps = true;
    // Else they crowd on the few multiprocessors that are free first.
    shape.shared_bytes = half_of_shared(kTile * kTile * static_cast<int>(sizeof(Element)));
  }
  launch(transpose_kernel<Element, kTileChunks>, shape, stream, "launching a transpose", p,
         static_cast<unsigned>(rows));
}

bool on_16_bytes(const void* data, std::int64_t stride, int element_bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride * element_bytes % 16 == 0;
}

}  // namespace

void launch_transpose(TransposeArguments p, int element_bytes, cudaStream_t stream) {
  constexpr std::int64_t kFew = 192;  // rows, of whose whole tiles there are too few
  p.wide_from = on_16_bytes(p.from, p.from_stride, element_bytes);
  p.wide_to = on_16_bytes(p.to, p.to_stride, element_bytes);
  if (element_bytes == 4)
    launch_tiles<std::uint32_t, kChunks>(p, stream);
  else if (std::max(p.rows, p.to_width) <= kFew)
    launch_tiles<std::uint16_t, kFewChunks>(p, stream);
  else
    launch_tiles<std::uint16_t, kChunks>(p, stream);
}

void launch_realign(TransposeArguments p, int element_bytes, cudaStream_t stream) {
  p.wide_from = on_16_bytes(p.from, p.from_stride, element_bytes);
  p.wide_to = on_16_bytes(p.to, p.to_stride, element_bytes);
  const std::int64_t chunks = ceil_div(p.cols * element_bytes, 16);
  if (chunks == 0 || p.rows == 0) return;
  unsigned across = 1;  // threads of a row
  while (across < chunks && across < kTileThreads) across *= 2;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(ceil_div(chunks, across)),
                    static_cast<unsigned>(
                        std::min<std::int64_t>(ceil_div(p.rows, kTileThreads / across), 65535)));
  shape.threads = kTileThreads;
  shape.overlaps = device_overlaps();
  launch(element_bytes == 2 ? realign_kernel<std::uint16_t> : realign_kernel<std::uint32_t>, shape,
         stream, "launching the copy of activations", p, across);
}

}  // namespace coppice::cuda
