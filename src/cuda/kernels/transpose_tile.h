// Tiles of activations on their way into the other layout: read as 16-byte chunks of a row, turned
// in swizzled shared memory, written as 16-byte chunks of a column (transpose.cu says why so).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/transpose.h"
#include "cuda/ptx/barrier.h"

namespace coppice::cuda {

inline constexpr int kChunks = 16;    // of 16 bytes, in a row of a tile
inline constexpr int kFewChunks = 8;  // ... where whole tiles would be too few
inline constexpr int kRun = 32;       // rows of a tile that a warp turns at a time
inline constexpr int kTileThreads = 256;
inline constexpr int kTileRows = kTileThreads / kChunks;  // of which a chunk is read at a time

/// What depends on the size of an element and of a tile.
template <typename Element, int kTileChunks = kChunks>
struct TileShape {
  static constexpr int kPerChunk = 16 / static_cast<int>(sizeof(Element));
  static constexpr int kTile = kTileChunks * kPerChunk;
  static constexpr int kRows = kTileThreads / kTileChunks;  // of which a chunk is read at a time
  static constexpr int kColumnLanes = kRun / kPerChunk;     // lanes that share a column
  /// Element of the first of a chunk: rows that are read together lie in different banks.
  __device__ static int place(int row, int chunk) {
    const int mixed = chunk ^ (sizeof(Element) == 2 ? row : row / 4) % 8;
    return row * kTile + mixed * kPerChunk;
  }
};

/// By plain loads: a read-only one may be moved in front of the wait for the kernels before.
template <typename Element, bool kWhole>
__device__ uint4 load_chunk(const TransposeArguments& p, std::int64_t row, std::int64_t col) {
  const Element* from = static_cast<const Element*>(p.from) + row * p.from_stride + col;
  if (kWhole) return *reinterpret_cast<const uint4*>(from);
  constexpr int kPer = TileShape<Element>::kPerChunk;
  uint4 chunk = make_uint4(0, 0, 0, 0);
  if (row >= p.rows || col >= p.cols) return chunk;
  if (p.wide_from && col + kPer <= p.cols) return *reinterpret_cast<const uint4*>(from);
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
  constexpr int kPer = TileShape<Element>::kPerChunk;
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
template <typename Element, typename Shape>
__device__ uint4 turned_chunk(const Element* tile, int chunk, int part, int lane) {
  std::uint32_t v[4];
  if constexpr (sizeof(Element) == 2) {
    ptx::load_matrix_4_transposed(
        v, ptx::shared_address(tile + Shape::place(kRun * part + lane, chunk)));
    transpose_in_quad(v, lane % 4);
  } else {
    const int row = kRun * part + lane % 8 * 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = tile[Shape::place(row + i, chunk) + lane / 8];
  }
  return make_uint4(v[0], v[1], v[2], v[3]);
}

struct Unchanged {
  __device__ uint4 operator()(uint4 chunk, int) const { return chunk; }
};

/// A tile of kTile x kTile elements by kTileThreads threads, of which each takes chunk threadIdx.x
/// % kTileChunks of rows threadIdx.x / kTileChunks, + Shape::kRows and so on; change(chunk, i) is
/// what goes on of the i-th of them.
template <typename Element, bool kWhole, int kTileChunks = kChunks, typename Change>
__device__ void transpose_tile(const TransposeArguments& p, std::int64_t first_row,
                               std::int64_t first_col, Element* tile, const Change& change) {
  using S = TileShape<Element, kTileChunks>;
  const int chunk = threadIdx.x % kTileChunks, row = threadIdx.x / kTileChunks;
  constexpr int kLoads = S::kTile / S::kRows;
  uint4 loaded[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i)
    loaded[i] = load_chunk<Element, kWhole>(p, first_row + row + i * S::kRows,
                                            first_col + chunk * S::kPerChunk);
#pragma unroll
  for (int i = 0; i < kLoads; ++i)
    *reinterpret_cast<uint4*>(tile + S::place(row + i * S::kRows, chunk)) = change(loaded[i], i);
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int c = threadIdx.x / 32; c < kTileChunks; c += kTileThreads / 32) {
    const std::int64_t col = first_col + c * S::kPerChunk + lane / S::kColumnLanes;
#pragma unroll
    for (int part = 0; part < S::kTile / kRun; ++part)
      store_chunk<Element, kWhole>(p,
                                   first_row + kRun * part + lane % S::kColumnLanes * S::kPerChunk,
                                   col, turned_chunk<Element, S>(tile, c, part, lane));
  }
}

}  // namespace coppice::cuda
