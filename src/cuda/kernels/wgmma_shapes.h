// The tiles of the wgmma kernels, for selection and for the kernels themselves, which are compiled
// anew with every change here: they take minutes.
#pragma once

#include <array>
#include <cstdint>

#include "cuda/kernels/expand_layout.h"
#include "cuda/kernels/expand_ordered_layout.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {

/// Outputs leave a wgmma kernel through shared memory, 64 rows x kStoredTokens at a time.
inline constexpr int kStoredTokens = 32;
inline constexpr int kStoredBytes = kBlockRows * kStoredTokens * 2;

/// Dense weights with lists: columns alive of a piece of the packing, and of a run that the copy
/// engine brings, so many tokens of a token-major matrix at a time.
inline constexpr int kRunCols = 32;
inline constexpr int kRunBoxTokens = 256;

/// Tile of a wgmma kernel: rows() x tile_tokens().
struct WgmmaShape {
  int row_groups = 1;    ///< warpgroups along the rows
  int group_blocks = 1;  ///< blocks of 64 rows of one warpgroup
  int token_groups = 1;  ///< warpgroups along the tokens
  int tokens = 128;      ///< of one warpgroup
  int stages = 4;
  int staging = 2;        ///< buffers of 64 rows x 32 tokens for a warpgroup's outputs
  int thread_blocks = 1;  ///< on one multiprocessor
  int slices = 1;         ///< at most: thread blocks of a cluster that share a tile's columns
  bool in_order = false;  ///< also compiled for weights whose columns are all alive in order
  bool expands = false;   ///< also compiled for weights that are expanded to 2:4 in registers
  int dense_cols = 0;     ///< Family::gather alone: columns alive of a step; 0: all other families
  int col_groups = 1;     ///< warpgroups that take turns at a tile's steps: Family::expand alone

  constexpr bool dense() const { return dense_cols > 0; }
  constexpr int step_cols() const { return dense() ? dense_cols : kStepCols; }
  /// Of a stage: the weight of 64 rows, the activations, the weight.
  constexpr int block_bytes() const { return dense() ? kBlockRows * dense_cols * 2 : kRecordBytes; }
  constexpr int blocks() const { return row_groups * group_blocks; }
  constexpr int rows() const { return 64 * blocks(); }
  constexpr int tile_tokens() const { return tokens * token_groups; }
  constexpr int activation_bytes() const { return tile_tokens() * step_cols() * 2; }
  constexpr int weight_bytes() const { return blocks() * block_bytes(); }
  constexpr int staging_bytes() const {
    return row_groups * token_groups * col_groups * staging * kStoredBytes;
  }
  /// Of a thread block: stages with two barriers and a tile each, a barrier of slices, outputs on
  /// their way, columns, alignment.
  constexpr int shared_bytes() const {
    return 1024 + staging_bytes() + kColumnBytes + 16 +
           stages * (activation_bytes() + weight_bytes() + 16 + 16);
  }

  // Where the weight is expanded, a stage of activations is a part of a step, and records have
  // stages of their own: as many of the former as fit.
  constexpr int expand_weight_stages(expand::Form form) const {
    return col_groups == 1 ? 3 : form == expand::Form::sixteens ? 4 : 6;
  }
  constexpr int expand_part_bytes(expand::Form form) const {
    return tile_tokens() * expand::parts(form).slots() * 2;
  }
  constexpr int expand_fixed_bytes(expand::Form form) const {
    const int records = blocks() * (kRecordBytes + expand::block_code_bytes(form));
    return 1024 + staging_bytes() + expand::table_bytes(form) + 16 +
           expand_weight_stages(form) * (records + 16 + 16);
  }
  /// Parts after which it is the same warpgroup's turn. So many stages, or a multiple, so that a
  /// stage is always the same one's: a barrier's phase tells only two rounds of the ring apart, and
  /// one who had not waited for the round before could take it for its own, should copies overtake
  /// each other.
  constexpr int expand_turn_parts(expand::Form form) const {
    if (col_groups == 1 || form == expand::Form::sixteens) return col_groups;
    return col_groups * expand::parts(form).count;
  }
  constexpr int expand_stages(expand::Form form) const {
    const int shared = 228 * 1024 / thread_blocks - 1024;
    const int most = (shared - expand_fixed_bytes(form)) / (expand_part_bytes(form) + 16);
    const int enough = col_groups > 1 ? 16 : 8;
    const int count = most < enough ? most : enough;
    return count - count % expand_turn_parts(form);
  }
  constexpr int expand_shared_bytes(expand::Form form) const {
    return expand_fixed_bytes(form) + expand_stages(form) * (expand_part_bytes(form) + 16);
  }

  static constexpr int kColumns = 1024;  ///< that lie in shared memory, of so many steps
  static constexpr int kColumnBytes = kColumns * 2;
  constexpr int column_steps() const { return kColumns / step_cols(); }
};

/// Tokens of which other ways are cheaper than boxes of the copy engine that reach behind the last.
inline constexpr std::int64_t kMostRagged = 512;

/// All wgmma tiles there are.
inline constexpr std::array kWgmmaShapes = {
    WgmmaShape{2, 1, 1, 256, 5, 2, 1, 1},              // vectors of 128 rows
    WgmmaShape{2, 2, 1, 128, 6, 2, 1, 1},              // vectors of 256 rows and more
    WgmmaShape{1, 1, 2, 256, 3, 2, 1, 1},              // vectors of 64 rows
    WgmmaShape{2, 1, 1, 128, 8, 2, 1, 2, true, true},  // the same for fewer tokens or rows ...
    WgmmaShape{1, 1, 1, 128, 4, 2, 2, 1},              //
    WgmmaShape{1, 1, 1, 64, 8, 2, 2, 4, true, true},   //
    WgmmaShape{2, 1, 1, 256, 4, 4, 1, 1, true,
               true},  // 2:4, and vectors of 128 rows of large products
    // Dense weights whose vectors have lists of columns:
    WgmmaShape{.row_groups = 2, .tokens = 256, .stages = 4, .dense_cols = 64},
    WgmmaShape{.token_groups = 2, .tokens = 256, .stages = 5, .staging = 4, .dense_cols = 32},
    WgmmaShape{.row_groups = 2, .group_blocks = 2, .tokens = 128, .stages = 4, .dense_cols = 64},
    WgmmaShape{.row_groups = 2, .tokens = 128, .stages = 6, .slices = 2, .dense_cols = 64},
    WgmmaShape{.tokens = 64, .stages = 6, .thread_blocks = 2, .slices = 4, .dense_cols = 64},
    // Expanded weights of few rows:
    WgmmaShape{.tokens = 64, .slices = 2, .expands = true, .col_groups = 2},
    WgmmaShape{.tokens = 128, .slices = 2, .expands = true, .col_groups = 2},
};

}  // namespace coppice::cuda
