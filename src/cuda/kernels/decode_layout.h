// Who reads what in the decode kernels: index arithmetic only, so that tests can follow a product
// without a GPU.
//
// A core matrix of a record is 128 bytes, and its 32-bit words are in the order of the lanes of a
// fragment: a warp reads it with one load of whole lines. (16-byte loads would be a quarter of the
// instructions, but either their lanes touch 32 bytes of 16 lines each, which halves the rate of
// memory, or the fragments need 32 shuffles.) Two instructions m16n8k32 multiply a record.
#pragma once

#include "cuda/kernels/decode_sizes.h"
#include "cuda/packed_layout.h"

namespace coppice::cuda::decode {

/// Byte of a record where a lane's word of a core matrix lies: of rows 8 * row_octet to + 7, values
/// 8 * value_octet to + 7 (register value_octet % 2 of instruction value_octet / 2).
COPPICE_HOST_DEVICE constexpr int value_offset(int row_octet, int value_octet, int lane) {
  return row_octet * kCoreRowBytes + value_octet * kCoreBytes + lane * 4;
}
/// The metadata of a unit: the first instruction takes it from lanes 0 and 1 of four, the second
/// from 2 and 3.
COPPICE_HOST_DEVICE constexpr int metadata_offset(int unit, int lane) {
  return kValueBytes + (32 * unit + lane) * 4;
}

/// The place (0 to 63, columns alive of a step) whose row of activations lane `lane` points
/// ldmatrix at, for instruction `j`.
COPPICE_HOST_DEVICE constexpr int place_of_lane(int lane, int j) { return 32 * j + lane; }

/// Which 16 bytes of a panel hold column `position`: eight that neighbours write (8 apart) lie in
/// different banks, as eight that follow each other do.
COPPICE_HOST_DEVICE constexpr std::uint32_t panel_row(std::uint32_t position) {
  return position ^ ((position >> 2 & 6) | (position >> 5 & 1));
}

/// First step of slice `slice` of `slices`; there are at most 1024 steps and 64 slices.
COPPICE_HOST_DEVICE constexpr int slice_begin(int steps, int slice, int slices) {
  return static_cast<int>(static_cast<unsigned>(steps * slice) / static_cast<unsigned>(slices));
}

/// Where the four sums of a lane lie among those of a thread block, in bytes.
COPPICE_HOST_DEVICE constexpr int sum_offset(const DecodeShape& s, int slice_warp, int row_warp,
                                             int unit, int panel, int lane) {
  return (((slice_warp * s.row_warps + row_warp) * kBlockUnits + unit) * s.panels() + panel) *
             kFragmentBytes +
         lane * 16;
}

}  // namespace coppice::cuda::decode
