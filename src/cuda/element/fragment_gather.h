// Vectors of 16 rows and more: their values are dense fragments as they lie, eight of a row for two
// m16n8k16, and the activations of the columns that the list names are gathered from panels in
// shared memory by the row addresses of ldmatrix.
#pragma once

#include "cuda/element/fragment_arguments.h"
#include "cuda/ptx/mma.h"

namespace coppice::cuda {

/// What a lane holds of the 4 rows of its warp's units and of the lists of their vectors.
template <FragmentForm kForm, Dtype kType, int kTiles>
class GatheredRows {
 public:
  /// @param first, end of the steps of this rank.
  __device__ GatheredRows(const ElementWeight& w, int unit, int first, int end, int lane,
                          const std::byte* /*no table*/) {
    const ElementLayout& l = w.layout;
    run_bits_ = 31 - __clz(l.run);
    pieces_ = min(l.pieces, end * kForm.pieces()) - first * kForm.pieces();
    // This lane's place k of two m16n8k16 belongs to lane t, its entry of eight.
    const int k = lane % 16, t = k % 8 / 2, entry = lane / 16 * 4 + k / 8 * 2 + k % 2;
    slot_ = (first * kForm.pieces() * kElementLanes + t) * 8 + entry;
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      values_at_[r] = w.values + piece_byte(l, min(2 * unit + r, 2 * l.units() - 1),
                                            first * kForm.pieces(), lane);
    int vector[kFragmentUnits];
#pragma unroll
    for (int u = 0; u < kFragmentUnits; ++u) {
      vector[u] = row_vector(w, kUnitRows * min(unit + u, l.units() - 1));
      runs_[u] = reinterpret_cast<const std::uint16_t*>(w.choices) + run_number(l, vector[u], 0);
    }
    one_vector_ = vector[0] == vector[kFragmentUnits - 1];
  }

  __device__ void load_first() {
    load_columns(0);
#pragma unroll
    for (int p = 0; p < kAhead; ++p) load_values(p, p);
  }

  /// @param panels shared address of the panels. @param panel_bytes to those of the next 8 tokens.
  /// @param first column of the step.
  __device__ void multiply(std::uint32_t panels, std::uint32_t panel_bytes, int first,
                           float (&sums)[kFragmentUnits][kTiles][4]) {
    std::uint32_t rows[kFragmentUnits][kPieces];
#pragma unroll
    for (int u = 0; u < kFragmentUnits; ++u)
#pragma unroll
      for (int p = 0; p < kPieces; ++p)
        rows[u][p] = panels + static_cast<std::uint32_t>(columns_[u][p] - first) * 16;
    load_columns(kPieces);
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      if (p < pieces_) {  // behind the end there is no column that could be read instead
        const std::uint32_t both[kFragmentUnits] = {rows[0][p], rows[1][p]};
        multiply_piece(p % kAhead, both, panel_bytes, sums);
      }
      load_values(p + kAhead, p % kAhead);
    }
    pieces_ -= kPieces;
    slot_ += kPieces * kElementLanes * 8;
#pragma unroll
    for (int r = 0; r < kRows; ++r) values_at_[r] += kPieces * 32 * kPieceBytes;
  }

 private:
  static constexpr int kRows = 2 * kFragmentUnits, kPieces = kForm.pieces();
  static constexpr int kAhead = kTiles <= 2 ? 2 : 4;
  static_assert(kFragmentUnits == 2 && kPieces % kAhead == 0);

  /// Columns of this lane's places of the step that begins with piece `piece` of this one.
  __device__ void load_columns(int piece) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const int slot = slot_ + (piece + p) * kElementLanes * 8;
#pragma unroll
      for (int u = 0; u < kFragmentUnits; ++u)
        columns_[u][p] = piece + p < pieces_ ? __ldg(runs_[u] + (slot >> run_bits_)) +
                                                   (slot & ((1 << run_bits_) - 1))
                                             : 0;
    }
  }

  __device__ void load_values(int piece, int slot) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      values_[r][slot] = make_uint4(0, 0, 0, 0);
      if (piece < pieces_)
        values_[r][slot] =
            __ldcs(reinterpret_cast<const uint4*>(values_at_[r] + piece * 32 * kPieceBytes));
    }
  }

  __device__ void multiply_piece(int slot, const std::uint32_t (&rows)[kFragmentUnits],
                                 std::uint32_t panel_bytes,
                                 float (&sums)[kFragmentUnits][kTiles][4]) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      std::uint32_t b[4];
#pragma unroll
      for (int u = 0; u < kFragmentUnits; ++u) {
        if (u == 0 || !one_vector_)
          ptx::load_matrix_4_transposed(b,
                                        rows[u] + static_cast<std::uint32_t>(tile) * panel_bytes);
        const uint4 &low = values_[2 * u][slot], &high = values_[2 * u + 1][slot];
        ptx::dense_mma<kType>(sums[u][tile], {low.x, high.x, low.y, high.y}, {b[0], b[1]});
        ptx::dense_mma<kType>(sums[u][tile], {low.z, high.z, low.w, high.w}, {b[2], b[3]});
      }
    }
  }

  const std::byte* values_at_[kRows];          // this lane's first piece of the step
  const std::uint16_t* runs_[kFragmentUnits];  // of the vectors
  int run_bits_, slot_, pieces_;               // of the step; pieces from there on
  bool one_vector_;
  uint4 values_[kRows][kAhead];
  int columns_[kFragmentUnits][kPieces];  // of the next step
};

}  // namespace coppice::cuda
