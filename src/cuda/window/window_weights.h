// What a warp of a window kernel has of the weight: values straight from memory to registers, where
// they are fragments of mma, and the columns of its lists, both a piece ahead of the products and
// across tiles.
#pragma once

#include "cuda/ptx/load_once.h"
#include "cuda/window/window_fill.h"

namespace coppice::cuda {

/// kVectors: lists of a warp's 64 rows.
template <int kVectors>
class WindowWeights {
 public:
  static constexpr int kHalves = 2 * kWindowUnits;
  static constexpr int kPieces = kChunkEntries / 8;  // of a chunk
  static constexpr int kSteps = 2;                   // m16n8k16 of a piece

  __device__ WindowWeights(const WindowArguments& p, int warp, int lane) : p_(p) {
    slot_ = static_cast<std::uint32_t>(window_slot(lane, 0));
    enter_tile(static_cast<int>(blockIdx.x), warp, lane);
  }

  /// What is asked for from here on is of this tile; nothing if there is none.
  __device__ void enter_tile(int tile, int warp, int lane) {
    const ElementLayout& l = p_.weight.layout;
    pieces_ = 0;
    if (tile >= p_.row_tiles * p_.token_tiles) return;
    pieces_ = l.pieces;
    const int row_tile = tile_place(tile, p_.row_tiles, p_.token_tiles, p_.token_group).row_tile;
    const int warps = static_cast<int>(blockDim.x / 32);
    const int unit = min((row_tile * warps + warp) * kWindowUnits, l.units() - 1);
    last_half_ = 2 * (l.units() - unit) - 1;
    values_at_ = p_.weight.values + piece_byte(l, 2 * unit, 0, lane);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int row = (unit + v * (kWindowUnits / kVectors)) * kUnitRows;
      const int vector = min(row, l.rows - 1) / l.vec_rows;
      lists_at_[v] = static_cast<std::uint32_t>(run_number(l, vector, 0));
    }
  }

  /// Asks for the next piece: its values for place `kPlace` of two, and its columns.
  template <int kPlace>
  __device__ void load() {
    const ElementLayout& l = p_.weight.layout;
    if (pieces_ <= 0) return;
    first_ =
        static_cast<std::uint32_t>(__ldg(&p_.weight.chunks[(l.pieces - pieces_) / kPieces].first));
    --pieces_;
    const auto half_pieces = static_cast<std::uint32_t>(l.pieces) * 32u;
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      const std::uint32_t pieces = static_cast<std::uint32_t>(min(h, last_half_)) * half_pieces;
      values_[kPlace][h] = ptx::load_once_16(values_at_ + std::uint64_t{pieces} * kPieceBytes);
    }
    values_at_ += 32 * kPieceBytes;
    const int run_bits = 31 - __clz(l.run);
    const auto* lists = reinterpret_cast<const std::uint16_t*>(p_.weight.choices);
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        columns_[step][v] = __ldg(lists + (lists_at_[v] + (slot(step) >> run_bits)));
      lists_at_[v] += 32u >> run_bits;
    }
  }

  /// Column of this lane's place of m16n8k16 number `step` of two, of the piece asked for last,
  /// from the first of its window on.
  __device__ std::uint32_t column(int step, int v) const {
    const auto in_run = static_cast<std::uint32_t>(p_.weight.layout.run - 1);
    return columns_[step][v] + (slot(step) & in_run) - first_;
  }
  /// The B operand: 16 columns of 8 rows.
  template <int kPlace>
  __device__ void fragment(int half, int step, std::uint32_t (&b)[2]) const {
    const uint4& all = values_[kPlace][half];
    b[0] = step == 0 ? all.x : all.z;
    b[1] = step == 0 ? all.y : all.w;
  }

 private:
  __device__ std::uint32_t slot(int step) const { return slot_ + 4 * step; }

  const WindowArguments& p_;
  int pieces_ = 0, last_half_ = 0;  // of the tile, still to ask for; half units that exist
  std::uint32_t slot_;              // of this lane in a piece
  const std::byte* values_at_;
  std::uint32_t lists_at_[kVectors];
  std::uint32_t columns_[kSteps][kVectors] = {};
  std::uint32_t first_ = 0;  // column of the window
  uint4 values_[2][kHalves] = {};
};

}  // namespace coppice::cuda
