// The tiles of the mma kernels, for selection and for the kernels themselves, which are compiled
// anew with every change here: they take minutes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace coppice::cuda {

/// How the mma kernels bring rows of activations (a row: one column of the weight, all tokens of
/// the tile) to shared memory.
enum class MmaRows : std::uint8_t {
  in_order,  ///< columns are alive in order: all of them
  window,    ///< all columns of a step's groups, shared by the vectors of the tile
  gathered,  ///< the columns alive, for every vector of the tile
};

/// An mma kernel: every warp multiplies a block of 64 rows by 64 tokens.
struct MmaKernel {
  MmaRows rows = MmaRows::gathered;
  int vectors = 1;      ///< in a block of 64 rows: 1, 2 or 4
  int row_warps = 4;    ///< blocks in a tile
  int token_warps = 2;  ///< times 64 tokens in a tile
  int halves = 1;       ///< steps of 32 columns alive in a stage: 1 or 2

  constexpr int threads() const { return 32 * row_warps * token_warps; }
  constexpr int tile_tokens() const { return 64 * token_warps; }
  constexpr int thread_blocks() const { return 8 / (row_warps * token_warps); }
  constexpr int places() const { return 32 * halves; }  ///< columns alive in a stage
  /// Column lists of a tile, if every vector of every block has its own.
  constexpr int lists() const { return row_warps * vectors; }
};

/// All mma kernels there are.
inline constexpr std::array kMmaKernels = {
    MmaKernel{MmaRows::in_order, 1, 4, 2, 2}, MmaKernel{MmaRows::in_order, 1, 2, 1, 2},
    MmaKernel{MmaRows::window, 1, 4, 2, 2},   MmaKernel{MmaRows::window, 1, 2, 1, 1},
    MmaKernel{MmaRows::window, 2, 4, 2, 2},   MmaKernel{MmaRows::window, 2, 2, 1, 1},
    MmaKernel{MmaRows::window, 4, 4, 2, 2},   MmaKernel{MmaRows::window, 4, 2, 1, 1},
    MmaKernel{MmaRows::gathered, 1, 4, 2, 2}, MmaKernel{MmaRows::gathered, 1, 4, 2, 1},
    MmaKernel{MmaRows::gathered, 1, 2, 2, 2}, MmaKernel{MmaRows::gathered, 1, 2, 1, 1},
    MmaKernel{MmaRows::gathered, 2, 2, 1, 1}, MmaKernel{MmaRows::gathered, 4, 2, 1, 1},
    MmaKernel{MmaRows::gathered, 4, 1, 1, 1}, MmaKernel{MmaRows::gathered, 1, 1, 8, 2},
    MmaKernel{MmaRows::gathered, 1, 2, 4, 2},
};

/// How an mma kernel is run.
struct MmaShape {
  int kernel = 0;      ///< index of kMmaKernels
  int stages = 3;      ///< at least 2
  int stage_rows = 0;  ///< rows of activations in a stage, at most
  int resident = 1;    ///< thread blocks that fit on a multiprocessor

  constexpr const MmaKernel& config() const {
    return kMmaKernels[static_cast<std::size_t>(kernel)];
  }
};

}  // namespace coppice::cuda
