// Descriptions for the copy engine of what ring kernels read (sm_90).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "coppice/dtype.h"

namespace coppice::cuda {

/// Feature-major activations [cols, tokens] in the order of rows of ring_layout.h: boxes of 64
/// tokens x `columns`, at (token, 0, 0, 0, first column >> (shift + 2)). `cols` and `columns` are
/// multiples of 4 << shift.
struct RingMapInfo {
  const void* data = nullptr;
  Dtype type = Dtype::f16;
  std::int64_t tokens = 0, cols = 0, stride = 0;  // elements
  int columns = 0, shift = 1;
  int box_tokens = 64;
};
CUtensorMap ring_map(const RingMapInfo& info);

/// The values of a weight with lists (element/element_layout.h), [half units][pieces][512 bytes]:
/// boxes of a piece of `box_half_units` half units, at (0, piece, half unit).
CUtensorMap piece_map(const void* values, Dtype type, std::int64_t half_units, std::int64_t pieces,
                      int box_pieces, int box_half_units);

}  // namespace coppice::cuda
