// N:M to dense fragments in registers, by byte selections (fragment_table.h): lane t's places of
// the k dimension are its own groups' columns, four of them for every m16n8k16, and the activations
// follow that order, 16 bytes of a token for eight columns.
#pragma once

#include <utility>

#include "cuda/element/fragment_arguments.h"
#include "cuda/element/fragment_dense.h"
#include "cuda/ptx/mma.h"

namespace coppice::cuda {

/// What a lane holds of the rows of kUnits units: values some pieces ahead, choices a step ahead.
template <FragmentForm kForm, int kUnits, int kWantedAhead>
class ExpandedRows {
 public:
  static constexpr int kRows = 2 * kUnits;
  /// The dense places of a lane group of all rows, two in a register.
  using Dense = std::uint32_t[kRows][kForm.group / 2];

  /// @param first, end of the steps of this rank.
  __device__ ExpandedRows(const ElementWeight& w, int unit, int first, int end, int lane,
                          const std::byte* table)
      : table_(lane_table<kForm>(table, lane)) {
    const ElementLayout& l = w.layout;
    pieces_ = min(l.pieces, end * kForm.pieces()) - first * kForm.pieces();
    words_ = min(l.words, end * kForm.words()) - first * kForm.words();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int half_unit = min(2 * unit + r, 2 * l.units() - 1);  // all read, none is stored twice
      values_at_[r] = w.values + piece_byte(l, half_unit, first * kForm.pieces(), lane);
      const int vector = row_vector(w, 8 * half_unit + lane / kElementLanes);
      choices_at_[r] =
          w.choices + 4 * choice_word(l, vector, lane % kElementLanes, first * kForm.words());
    }
  }

  __device__ void load_first() {
    load_choices();
#pragma unroll
    for (int p = 0; p < kAhead; ++p) load_values(p, p);
  }

  /// Goes through a step: `use.operator()<kGroup>(dense)` for every lane group.
  template <typename Use>
  __device__ void step(const Use& use) {
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int i = 0; i < kForm.words(); ++i) choices_[r][i] = next_choices_[r][i];
    words_ -= kForm.words();
#pragma unroll
    for (int r = 0; r < kRows; ++r) choices_at_[r] += kForm.words() * 128;
    load_choices();
    use_groups(use, std::make_integer_sequence<int, kForm.lane_groups()>());
    pieces_ -= kForm.pieces();
#pragma unroll
    for (int r = 0; r < kRows; ++r) values_at_[r] += kForm.pieces() * 32 * kPieceBytes;
  }

 private:
  static constexpr int kAhead = std::min(kWantedAhead, kForm.pieces());
  static constexpr int kPieceGroups = 8 / kForm.kept;

  __device__ void load_choices() {
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int i = 0; i < kForm.words(); ++i)
        // Behind the end any choice will do: the values are 0.
        next_choices_[r][i] =
            i < words_ ? __ldg(reinterpret_cast<const std::uint32_t*>(choices_at_[r]) + 32 * i) : 0;
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

  /// The dense places of lane group kGroup of a row, two in a register.
  template <int kGroup>
  __device__ void expand(int row, std::uint32_t (&out)[kForm.group / 2]) const {
    constexpr int kWord = kGroup * kForm.kept / 2;
    dense_places<kForm>(table_, group_choice<kForm, kGroup>(choices_[row]),
                        piece_word<kWord>(values_[row]),
                        piece_word<kWord + kForm.kept / 2 - 1>(values_[row]), out);
  }

  template <int kGroup, typename Use>
  __device__ void use_group(const Use& use) {
    Dense dense;
#pragma unroll
    for (int r = 0; r < kRows; ++r) expand<kGroup>(r, dense[r]);
    if constexpr (kGroup % kPieceGroups == kPieceGroups - 1) {
      constexpr int kPiece = kGroup / kPieceGroups;
      load_values(kPiece + kAhead, kPiece % kAhead);
    }
    use.template operator()<kGroup>(dense);
  }

  template <typename Use, int... kGroup>
  __device__ void use_groups(const Use& use, std::integer_sequence<int, kGroup...>) {
    (use_group<kGroup>(use), ...);
  }

  const std::byte* table_;
  const std::byte* values_at_[kRows];   // this lane's first piece of the step
  const std::byte* choices_at_[kRows];  // its first word of the step whose choices come next
  int pieces_, words_;                  // from there on
  uint4 values_[kRows][kAhead];
  std::uint32_t choices_[kRows][kForm.words()], next_choices_[kRows][kForm.words()];
};

/// Adds the products of a step with all tokens.
/// @param x this lane's token of the first tile, its first column of the step.
template <FragmentForm kForm, Dtype kType, int kStride, int kTiles, int kAhead>
__device__ inline void multiply_step(ExpandedRows<kForm, kFragmentUnits, kAhead>& rows,
                                     const std::byte* x, float (&sums)[kFragmentUnits][kTiles][4]) {
  using Rows = ExpandedRows<kForm, kFragmentUnits, kAhead>;
  rows.step([&]<int kGroup>(const typename Rows::Dense& dense) {
#pragma unroll
    for (int eight = 0; eight < kForm.group / 8; ++eight)
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint4 b = *reinterpret_cast<const uint4*>(
            x + 8 * tile * kStride + (kGroup * kElementLanes * kForm.group + 8 * eight) * 2);
#pragma unroll
        for (int u = 0; u < kFragmentUnits; ++u) {
          const auto &low = dense[2 * u], &high = dense[2 * u + 1];
          const int i = 4 * eight;
          ptx::dense_mma<kType>(sums[u][tile], {low[i], high[i], low[i + 1], high[i + 1]},
                                {b.x, b.y});
          ptx::dense_mma<kType>(sums[u][tile], {low[i + 2], high[i + 2], low[i + 3], high[i + 3]},
                                {b.z, b.w});
        }
      }
  });
}

}  // namespace coppice::cuda
