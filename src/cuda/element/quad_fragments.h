// Fragments of sparse wgmma from values and what their codes stand for (quad_form.h): what the two
// ways that weights come, quad_rows.h and quad_ring.h, share.
#pragma once

#include <cstdint>

#include "cuda/element/quad_form.h"
#include "cuda/kernels/metadata_exchange.h"
#include "cuda/ptx/bytes.h"
#include "cuda/ptx/wgmma.h"

namespace coppice::cuda {

/// The two products of a block of 64 slots.
struct QuadFragments {
  std::uint32_t a[2][4];
  std::uint32_t metadata[1];

  /// See ptx::keep_values.
  __device__ void keep() {
    ptx::keep_values(a[0]);
    ptx::keep_values(a[1]);
    ptx::keep_values(metadata);
  }
};

/// Units of a row in a block of 64 slots.
constexpr int quad_block_units(const QuadForm& form) { return 4 / form.unit_quads(); }

/// Both values of a unit, out of the piece that it lies in.
template <int kUnit>
__device__ inline std::uint32_t values_of_unit(const uint4& piece) {
  return kUnit % 4 == 0 ? piece.x : kUnit % 4 == 1 ? piece.y : kUnit % 4 == 2 ? piece.z : piece.w;
}

/// The registers of quads 2 * kPair and the next of a unit.
template <QuadForm kForm, int kUnit, int kPair, typename Values>
__device__ inline void expand_unit(const Values& values, int row, std::uint32_t entry,
                                   std::uint32_t half_selectors, std::uint32_t (&a)[4]) {
  const std::uint32_t halves =
      kForm.unit_quads() == 2 ? entry : (kPair == 0 ? entry : entry >> 2) & 0x3333;
  const std::uint32_t selectors = ptx::select_bytes(half_selectors, 0, halves);
  a[row] = ptx::select_bytes(values.template operator()<kUnit>(row), 0, selectors);
  a[2 + row] = ptx::select_bytes(values.template operator()<kUnit>(row), 0, selectors >> 16);
}

/// Makes a block. @param entries of its units, in rows g and g + 8; `look_up_ahead()` asks for the
/// next ones in their place. @param values `values.operator()<kUnit>(row)`.
template <QuadForm kForm, int kBlock, typename Values, typename Ahead>
__device__ inline void make_block(QuadFragments& out,
                                  const std::uint32_t (&entries)[2][quad_block_units(kForm)],
                                  const MetadataExchange& exchange, std::uint32_t half_selectors,
                                  const Values& values, const Ahead& look_up_ahead) {
  if constexpr (quad_block_units(kForm) == 2) {
    std::uint32_t metadata[2], now[2][2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      now[row][0] = entries[row][0], now[row][1] = entries[row][1];
      metadata[row] = ptx::select_bytes(now[row][0], now[row][1], 0x62);
    }
    out.metadata[0] = exchange(ptx::select_bytes(metadata[0], metadata[1], 0x5410));
    look_up_ahead();
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      expand_unit<kForm, 2 * kBlock, 0>(values, row, now[row][0], half_selectors, out.a[0]);
      expand_unit<kForm, 2 * kBlock + 1, 0>(values, row, now[row][1], half_selectors, out.a[1]);
    }
  } else {
    const std::uint32_t low = entries[0][0], high = entries[1][0];
    out.metadata[0] = exchange(ptx::select_bytes(low, high, 0x7632));
    look_up_ahead();
    expand_unit<kForm, kBlock, 0>(values, 0, low, half_selectors, out.a[0]);
    expand_unit<kForm, kBlock, 0>(values, 1, high, half_selectors, out.a[0]);
    expand_unit<kForm, kBlock, 1>(values, 0, low, half_selectors, out.a[1]);
    expand_unit<kForm, kBlock, 1>(values, 1, high, half_selectors, out.a[1]);
  }
}

}  // namespace coppice::cuda
