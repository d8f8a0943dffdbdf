// Descriptions of matrices of 16-bit elements for the copy engine (sm_90).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "coppice/dtype.h"

namespace coppice::cuda {

/// How a box lies in shared memory; see the readers.
enum class Swizzled : std::uint8_t { none, bytes_64, bytes_128 };

/// A matrix of `outer` rows of `inner` contiguous elements, and the boxes it is copied in.
/// `data` on 16 bytes, `stride` a multiple of 8 elements.
struct TensorMapInfo {
  const void* data = nullptr;
  Dtype type = Dtype::f16;
  std::int64_t inner = 0, outer = 0, stride = 0;  // elements
  std::int32_t box_inner = 0, box_outer = 0;
  Swizzled swizzle = Swizzled::bytes_128;
};

/// Throws DeviceError if the driver refuses.
CUtensorMap tensor_map(const TensorMapInfo& info);

/// Feature-major activations [cols, tokens] as quads of the windows of `group` columns, in the
/// order of slots of expand_layout.h: boxes of a part of a step x 64 tokens, at (token, 0, first
/// lane's window / 4, 0, 2 * part). Steps that are not whole must not be read by it.
struct WindowMapInfo {
  const void* data = nullptr;
  Dtype type = Dtype::f16;
  std::int64_t tokens = 0, cols = 0, stride = 0;  // elements
  int group = 0;
};
CUtensorMap window_map(const WindowMapInfo& info);

/// Runs of kRunCols columns of activations for dense weights with lists, all tokens of a tile.
/// Token-major: boxes of a run x kRunBoxTokens tokens, or all if they are fewer, at (column,
/// token). Feature-major: boxes of 64 tokens x a run, with panels of 64 tokens as a third dimension
/// where they are all whole: at (0, column, panel), else at (token, column).
struct RunMapInfo {
  const void* data = nullptr;
  Dtype type = Dtype::f16;
  std::int64_t tokens = 0, cols = 0, stride = 0;  // elements
  int tile_tokens = 0;
  bool token_major = false;
};
CUtensorMap run_map(const RunMapInfo& info);

/// The values of a dense weight with lists (element/element_layout.h), [half units][pieces][512
/// bytes]: boxes of `box_pieces` pieces of 8 half units, at (0, piece, half unit).
CUtensorMap piece_map(const void* values, Dtype type, std::int64_t half_units, std::int64_t pieces,
                      int box_pieces);

}  // namespace coppice::cuda
