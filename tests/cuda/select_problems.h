// Devices, and weights as a PackedWeight describes them, for tests of selection.
#pragma once

#include <algorithm>

#include "cuda/select.h"

namespace coppice::cuda {

inline DeviceInfo hopper() { return {132, 90, 60 << 20, 227 * 1024, true}; }
inline DeviceInfo ampere() { return {108, 80, 40 << 20, 163 * 1024, false}; }
inline DeviceInfo ada() { return {128, 89, 72 << 20, 99 * 1024, false}; }

// V:2:M on rows x cols, as a PackedWeight describes it.
inline ProductInfo product(int vec_rows, int group, std::int64_t rows, std::int64_t cols,
                           std::int64_t tokens) {
  ProductInfo p;
  p.vector_blocks = vec_rows < 64 ? 0 : (vec_rows + 63) / 64;
  p.block_vectors = vec_rows >= 64 ? 1 : vec_rows >= 32 ? 2 : 4;
  for (std::size_t i = 0; i < kTileBlocks.size(); ++i) {
    const int vectors = (64 * kTileBlocks[i] + vec_rows - 1) / vec_rows;
    p.tile_lists[i] = std::min(vectors, kTileBlocks[i] * p.block_vectors);
  }
  p.group = group;
  p.blocks = (rows + 63) / 64;
  p.steps = (cols / group + 15) / 16;
  p.cols = cols;
  p.tokens = tokens;
  return p;
}

inline ProductInfo two_four(std::int64_t rows, std::int64_t cols, std::int64_t tokens) {
  ProductInfo p = product(64, 4, rows, cols, tokens);
  p.in_order = true;
  p.tile_lists = {1, 1, 1};
  p.vector_blocks = static_cast<int>(p.blocks);
  return p;
}

}  // namespace coppice::cuda
