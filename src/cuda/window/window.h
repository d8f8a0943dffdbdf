// Products of vector-wise and block-wise weights whose values are fragments as they lie
// (ChoiceForm::list, 16-bit types, vectors of 16 rows and more), for many tokens.
#pragma once

#include <cuda.h>

#include "cuda/element/element_arguments.h"
#include "cuda/window/window_layout.h"

namespace coppice::cuda {

/// x is feature-major, on 16 bytes, as is its stride.
struct WindowArguments : ElementProduct {
  WindowStage stage;
  std::int32_t row_tiles = 0, token_tiles = 0, token_group = 1;
  bool boxes = false;  ///< by the copy engine: no input permutation, runs of up to 4 columns
};

/// Enqueues a product. `x`: boxes of stage.box_rows columns x the tile's tokens, where `boxes`.
void launch_window(const WindowArguments& arguments, const CUtensorMap& x, int shape, Dtype dtype,
                   int multiprocessors, bool overlaps, cudaStream_t stream);

}  // namespace coppice::cuda
