// How many tiles a product of Packing::records has, and in how many rounds they run.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/rounding.h"
#include "cuda/select.h"

namespace coppice::cuda::model {

/// Bytes that a product of Packing::records reads and writes at least once.
inline double moved_bytes(const ProductInfo& p) {
  return static_cast<double>(p.blocks * p.steps) * kRecordBytes +
         2.0 * static_cast<double>(p.tokens) * static_cast<double>(p.rows + p.cols);
}

/// Those that it writes.
inline double output_bytes(const ProductInfo& p) {
  return 2.0 * static_cast<double>(p.tokens) * static_cast<double>(p.rows);
}

/// Row tiles if vectors of `vector_blocks` are cut into tiles of at most `tile_blocks`.
inline std::int64_t row_tiles(const ProductInfo& p, int tile_blocks) {
  if (p.vector_blocks == 0) return ceil_div(p.blocks, tile_blocks);
  return ceil_div(p.blocks, p.vector_blocks) * ceil_div(p.vector_blocks, tile_blocks);
}

/// Of a wgmma family.
inline std::int64_t tile_count(const WgmmaShape& s, Family family, const ProductInfo& p) {
  const std::int64_t rows =
      family == Family::expand ? ceil_div(p.blocks, s.blocks()) : row_tiles(p, s.blocks());
  return rows * ceil_div(p.tokens, s.tile_tokens());
}

/// Thread blocks beside each other on a multiprocessor, and how often one after the other.
struct Rounds {
  double together = 1, rounds = 1;
};
inline Rounds rounds_of(std::int64_t tiles, int thread_blocks, const DeviceInfo& device) {
  const std::int64_t processors = device.multiprocessors;
  const std::int64_t resident =
      std::min<std::int64_t>(thread_blocks, std::max<std::int64_t>(1, ceil_div(tiles, processors)));
  return {static_cast<double>(resident),
          static_cast<double>(ceil_div(tiles, processors * resident))};
}

}  // namespace coppice::cuda::model
