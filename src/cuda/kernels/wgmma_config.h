// What a wgmma product kernel is compiled for, and how it shares out its block's resources.
#pragma once

#include <cuda.h>

#include "cuda/device_info.h"
#include "cuda/kernels/arguments.h"
#include "cuda/kernels/wgmma_shapes.h"

namespace coppice::cuda {

/// Where the activations of a step come from.
enum class Source : std::uint8_t {
  gathered,              ///< rows of a feature-major matrix, named by column lists
  runs,                  ///< 32 columns of a token-major matrix at a time, named by column lists
  feature_major,         ///< all rows in order
  token_major,           ///< all columns in order
  fives,                 ///< all rows, as quads of windows of 5 columns: see expand_layout.h
  eights,                ///< the same of windows of 6 to 8
  sixteens,              ///< all rows in order, for windows of 16: see expand_ordered_layout.h
  sixteens_token_major,  ///< the same of all columns
  spread,                ///< all rows, multiplied as the slots of spread_layout.h
};

constexpr bool is_expanded(Source source) {
  return source == Source::fives || source == Source::eights || source == Source::sixteens ||
         source == Source::sixteens_token_major;
}

/// Boxes of the matrices that the copy engine reads and writes.
struct WgmmaMaps {
  CUtensorMap x;       // in order: 64 x 64 (feature-major; slots: fewer rows), or 64 columns of all
                       // tokens of a tile; in runs: see run_map
  CUtensorMap w;       // dense: 64 rows of a step
  CUtensorMap x_rest;  // token-major: the same of the last tile's tokens if it is not whole;
                       // expanded weights: 4 columns of 64 tokens, for the last step
  CUtensorMap y;       // 64 rows x kStoredTokens tokens, in either layout
  CUtensorMap residual;  // 64 rows x 64 tokens, in either layout: see wgmma_residual.h
};

struct WgmmaConfig {
  WgmmaShape shape;
  Source source = Source::gathered;
  Dtype type = Dtype::f16;

  constexpr bool dense() const { return shape.dense(); }
  constexpr bool gathers() const { return source == Source::gathered; }
  constexpr int step_cols() const { return shape.step_cols(); }
  /// Columns of a panel of 64 tokens in shared memory; the tile's panels of so many lie together.
  constexpr int panel_cols() const { return dense() ? kRunCols : kStepCols; }
  constexpr bool expands_in_order() const {
    return source == Source::sixteens || source == Source::sixteens_token_major;
  }
  constexpr bool expands() const { return is_expanded(source); }
  constexpr expand::Form form() const {
    return expands_in_order()        ? expand::Form::sixteens
           : source == Source::fives ? expand::Form::fives
                                     : expand::Form::eights;
  }
  /// Whether boxes of activations are columns of a token-major matrix, as they are.
  constexpr bool reads_tokens() const {
    return source == Source::token_major || source == Source::sixteens_token_major;
  }
  constexpr bool spreads() const { return source == Source::spread; }
  /// Whether the copy engine can bring the residual of a tile, a block of 64 rows a stage.
  constexpr bool brings_residuals() const {
    return !expands() && source != Source::runs && step_cols() == kBlockRows;
  }
  constexpr int consumers() const {
    return shape.row_groups * shape.token_groups * shape.col_groups;
  }
  constexpr int threads() const { return 128 * (consumers() + 1); }
  constexpr int tile_tokens() const { return shape.tile_tokens(); }
  constexpr int activation_bytes() const { return shape.activation_bytes(); }
  constexpr int weight_bytes() const { return shape.weight_bytes(); }
  /// Registers at launch; the groups then trade: producers need few, consumers many.
  constexpr int launch_registers() const {
    const int fair = 65536 / (threads() * shape.thread_blocks) / 8 * 8;
    return fair < 248 ? fair : 248;
  }
  /// Enough that a gather's copies need not share their address registers: such a register is free
  /// again only when its copy has left the queue.
  constexpr int producer_registers() const {
    // Fewer copies a thread.
    if (dense() && activation_bytes() <= 16 * 1024) return 64;
    if (expands()) return expands_in_order() ? 64 : 40;
    return consumers() == 1 ? 96 : 88;
  }
  constexpr int consumer_registers() const {
    const int pool = launch_registers() * (consumers() + 1) - producer_registers();
    const int share = pool / consumers() / 8 * 8;
    return share < 240 ? share : 240;
  }
  constexpr int shared_bytes() const {
    return expands() ? shape.expand_shared_bytes(form()) : shape.shared_bytes();
  }
  static constexpr int kAlignment = 1024;  // of a swizzled tile
};

}  // namespace coppice::cuda
