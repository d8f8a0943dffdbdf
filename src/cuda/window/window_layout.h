// Where everything lies in shared memory in the window kernels: index arithmetic and sizes only, so
// that tests can follow a product without a GPU.
//
// A stage is the window of a chunk (element_layout.h): a row of all tokens of the tile for every
// column between the first and the last that the chunk may name. Rows have 128 or 64 bytes; the 16
// bytes number c of row r lie in place c ^ place(r), so that eight rows that differ modulo 8 are
// read without bank conflicts. That is the order in which the copy engine writes boxes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "cuda/element/element_layout.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda {

inline constexpr int kWindowUnits = 4;      // of 16 rows, of a warp
inline constexpr int kWindowStages = 4;     // at most
inline constexpr int kWindowBarriers = 64;  // bytes for them
inline constexpr int kWindowHead = 256;     // before the stages: barriers, and where warps fill
inline constexpr int kMaxBoxRows = 256;     // of the copy engine
inline constexpr int kTogether = 8;         // rows of activations that ldmatrix reads together

/// A tile: 64 rows for every warp, and so many tokens.
struct WindowShape {
  int tokens = 64;  ///< 32 or 64
  int warps = 8;    ///< of a thread block, at most 8

  constexpr int rows() const { return kWindowUnits * kUnitRows * warps; }
  constexpr int threads() const { return 32 * warps; }
  constexpr int residents() const { return 8 / warps; }  ///< that registers allow
  constexpr int row_bytes() const { return 2 * tokens; }
};

/// All window tiles there are.
inline constexpr std::array kWindowShapes = {WindowShape{64, 8}, WindowShape{64, 4},
                                             WindowShape{32, 8}, WindowShape{32, 4},
                                             WindowShape{32, 2}};

/// What selection has to know about a weight; see ProductInfo.
struct WindowInfo {
  int columns = 0;  ///< of the widest chunk; 0: no such products
  int pieces = 0;   ///< of 32 values of a row
  std::int64_t rows = 0;
  int vectors = 1;     ///< lists of the 64 rows of a warp: 1, 2 or 4
  bool boxes = false;  ///< the copy engine can bring windows
};

/// Rows of a stage and how they are copied.
struct WindowStage {
  int rows = 0;       ///< of a stage; 0: stages do not fit
  int box_rows = 0;   ///< of a box of the copy engine
  int stages = 0;     ///< at most kWindowStages
  int residents = 1;  ///< thread blocks on a multiprocessor

  constexpr int boxes() const { return rows / box_rows; }
  constexpr int bytes(const WindowShape& shape) const {
    return 1024 + kWindowHead + stages * rows * shape.row_bytes();
  }
};

/// @param columns of the widest chunk. @param shared_bytes that a thread block can use.
constexpr WindowStage window_stage(const WindowShape& shape, int columns, int shared_bytes) {
  constexpr int kReserved = 1024;  // of shared memory, for every thread block
  WindowStage s;
  const int boxes = (columns + kMaxBoxRows - 1) / kMaxBoxRows;
  s.box_rows = ((columns + boxes - 1) / boxes + 15) / 16 * 16;
  const int rows = boxes * s.box_rows;
  for (s.residents = shape.residents(); s.residents > 0; --s.residents) {
    const int room = (shared_bytes + kReserved) / s.residents - kReserved - 1024 - kWindowHead;
    s.stages = std::min(room / (rows * shape.row_bytes()), kWindowStages);
    if (s.stages >= (s.residents > 1 ? 3 : 2)) {
      s.rows = rows;
      return s;
    }
  }
  return {};
}

/// Byte of a stage at which row r has its first 16 bytes; those of number c by ^ 16 * c. `folds`:
/// for runs of 8 columns and more, where the same columns of several runs are read together.
template <int kTokens>
COPPICE_HOST_DEVICE constexpr std::uint32_t window_row(std::uint32_t r, bool folds) {
  if constexpr (kTokens == 64)
    return r * 128 + ((r ^ (folds ? r >> 2 & 6u : 0u)) & 7u) * 16;
  else
    return r * 64 + ((r >> 1 ^ (folds ? r >> 3 : 0u)) & 3u) * 16;
}

/// The slot of a piece of 32 whose row lane l gives to ldmatrix for m16n8k16 number `step` of two:
/// place k of it belongs to lane k % 8 / 2 of those that share a row, its entry of eight.
COPPICE_HOST_DEVICE constexpr int window_slot(int lane, int step) {
  const int k = lane % 8 + lane / 16 * 8;
  return k % 8 / 2 * 8 + 4 * step + k / 8 * 2 + k % 2;
}

/// The byte to add to (by ^) the first 16 bytes of the row: lanes 8 to 15 and 24 to 31 give 8
/// tokens more; a read has 16 tokens.
COPPICE_HOST_DEVICE constexpr std::uint32_t window_token_byte(int lane) {
  return static_cast<std::uint32_t>(lane / 8 % 2 * 16);
}

/// Units of 16 rows that share a list, of a warp: 4, 2 or 1.
constexpr int window_shared_units(int vec_rows) {
  return vec_rows % 64 == 0 ? 4 : vec_rows % 32 == 0 ? 2 : 1;
}

}  // namespace coppice::cuda
