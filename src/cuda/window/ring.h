// Products of vectors of 16 rows and more with many tokens, for Hopper: ring_kernel.h.
#pragma once

#include <cuda.h>

#include "cuda/element/element_arguments.h"
#include "cuda/window/ring_layout.h"

namespace coppice::cuda {

/// x is feature-major, on 16 bytes, as is its stride. No permutation of columns, no table of
/// groups.
struct RingArguments : ElementProduct {
  RingWindow window;
  RingStage stage;
  std::int32_t row_tiles = 0, token_tiles = 0, token_group = 1;
};

/// Enqueues a product. `x`: ring_map; `values`: piece_map, boxes of a piece of a tile's
/// rows.
void launch_ring(const RingArguments& arguments, const CUtensorMap& x, const CUtensorMap& values,
                 const RingShape& shape, Dtype dtype, int multiprocessors, cudaStream_t stream);

}  // namespace coppice::cuda
