// What a decode kernel is given: several weights that multiply the same activations.
#pragma once

#include "cuda/kernels/arguments.h"
#include "cuda/kernels/decode_ring_sizes.h"
#include "cuda/kernels/decode_sizes.h"

namespace coppice::cuda {

struct DecodeArguments {
  DecodeShape shape;
  int weights = 1;
  int row_tiles = 0;                                // of all weights
  std::int32_t first_tile[decode::kMostWeights]{};  // of each weight
  ProductArguments product[decode::kMostWeights];   // x, its stride, cols and tokens are the same
  bool x_token_major = false;
  bool x_wide = false;         // rows of activations start on 16 bytes
  std::int32_t panel = 0;      // bytes between panels
  std::int32_t window = 0;     // columns of a slice in a chunk; of all where quads lie anywhere
  bool shared_window = false;  // quads lie anywhere: one window for all slices
  // Of the ring kernels alone:
  decode::RingSizes ring;
  decode::UnitShare share[decode::kMostWeights]{};
};

}  // namespace coppice::cuda
