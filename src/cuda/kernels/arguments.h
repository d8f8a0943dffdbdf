// What every product kernel is given. Pointers are device memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "coppice/dtype.h"
#include "coppice/linear.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {

/// y = act(alpha * product + bias) + residual, or * residual.
struct EpilogueArguments {
  void* y = nullptr;
  std::int64_t y_stride = 0;       // elements between tokens (token-major) or rows (feature-major)
  const void* residual = nullptr;  // like y, may be y
  bool multiplies = false;         // the residual is a factor
  bool wide_residual = false;      // it allows 16-byte loads
  const void* bias = nullptr;      // [rows] or null
  float alpha = 1;
  Activation activation = Activation::none;
  bool token_major = false;
  bool f32_out = false;   // else the input type
  bool f32_bias = false;  // else the input type
  bool wide = false;      // y and its stride allow 16-byte stores
};

/// What a dense weight with lists of columns has instead of records and tables: the packing of
/// element/element_layout.h.
struct RunLists {
  const std::byte* values = nullptr;
  const std::uint16_t* runs = nullptr;      // [vectors][words], first columns
  const std::int32_t* sources = nullptr;    // [cols], columns of the activations; null: themselves
  std::int32_t half_units = 0, pieces = 0;  // of 8 rows; of 32 columns alive
  std::int32_t words = 0, run = 1;          // runs of a vector; columns of a run
  std::int32_t vec_rows = 0, vector_tiles = 1;
  bool boxes = false;  // the copy engine brings the activations, run by run
};

/// Row tile number `tile` where every vector has `vector_tiles` of them; the last one may be short.
COPPICE_HOST_DEVICE constexpr RowTile vector_tile(std::int32_t tile, std::int32_t tile_rows,
                                                  std::int32_t vector_tiles, std::int32_t vec_rows,
                                                  std::int32_t rows) {
  const std::int32_t vector = tile / vector_tiles, skipped = tile % vector_tiles * tile_rows;
  const std::int32_t row = vector * vec_rows + skipped;
  const std::int32_t in_vector = vec_rows - skipped < rows - row ? vec_rows - skipped : rows - row;
  return {0, row, in_vector < tile_rows ? in_vector : tile_rows, vector};
}
constexpr std::int32_t vector_tile_count(std::int32_t tile_rows, std::int32_t vector_tiles,
                                         std::int32_t vec_rows, std::int32_t rows) {
  return rows / vec_rows * vector_tiles + (rows % vec_rows + tile_rows - 1) / tile_rows;
}

struct ProductArguments {
  const std::byte* records = nullptr;  // [blocks][steps][kRecordBytes]
  ColumnLists columns;
  RunLists lists;                      // instead of both
  const RowUnit* units = nullptr;      // [blocks * kBlockUnits]
  const RowTile* row_tiles = nullptr;  // [row_tile_count]
  const void* x = nullptr;
  std::int64_t x_stride = 0;  // elements
  std::int32_t rows = 0;
  std::int32_t cols = 0;
  std::int32_t tokens = 0;
  std::int32_t x_tokens = 0;  ///< that x has memory for, in every row: at least `tokens`
  std::int32_t steps = 0;
  std::int32_t block_count = 0;
  std::int32_t stages = 0;      // mma kernels only
  std::int32_t stage_rows = 0;  // mma kernels only: rows of activations in a stage
  std::int32_t row_tile_count = 0;
  std::int32_t token_tile_count = 0;
  std::int32_t token_group = 1;  // token tiles that are worked on together
  bool staged = false;           // wgmma kernels only: y can be written by the copy engine
  std::int32_t slices = 1;       // wgmma kernels only: thread blocks of a cluster that share a tile
  bool expanded_before = false;  // wgmma kernels only: the kernel in front writes the weight
  EpilogueArguments epilogue;
};

/// Order of the output tiles: groups of token tiles, whose activations stay in L2 while all rows
/// pass; within a group row by row.
struct TilePlace {
  std::int32_t row_tile, token_tile;
};
COPPICE_HOST_DEVICE inline TilePlace tile_place(std::int32_t tile, std::int32_t row_tiles,
                                                std::int32_t token_tiles, std::int32_t group) {
  const std::int32_t first = tile / (group * row_tiles) * group;
  const std::int32_t width = token_tiles - first < group ? token_tiles - first : group;
  const std::int32_t left = tile - first * row_tiles;
  return {left / width, first + left % width};
}

}  // namespace coppice::cuda
