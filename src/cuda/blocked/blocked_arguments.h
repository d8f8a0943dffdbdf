// What a blocked kernel is given.
#pragma once

#include "cuda/blocked/blocked_shape.h"
#include "cuda/blocked/blocked_window.h"
#include "cuda/element/element_arguments.h"

namespace coppice::cuda {

struct BlockedArguments : ElementProduct {
  std::int32_t run_shift = 0;  ///< of ElementLayout::run
  std::int32_t lists = 1;      ///< of columns of a row tile, at most
  std::int32_t row_tiles = 0, token_tiles = 0;
  std::int32_t token_group = 1;  ///< token tiles worked on together
  BlockedWindow window;          ///< of kernels of short vectors
  bool wide_out = false;         ///< y, its stride and the residual allow 16-byte accesses
};

}  // namespace coppice::cuda
