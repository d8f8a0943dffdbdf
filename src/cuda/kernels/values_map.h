// A description of 32-bit values for the copy engine (sm_90).
#pragma once

#include <cuda.h>

#include <cstdint>

namespace coppice::cuda {

/// The values of a 32-bit weight with lists (element/element_layout.h), [half units][pieces][8
/// rows][16 slots]: boxes of a piece of `box_half_units` half units, at (0, 8 * piece, half unit),
/// as atoms of the 64-byte swizzle, rounded to TF32 on the way.
CUtensorMap rounded_values_map(const void* values, std::int64_t half_units, std::int64_t pieces,
                               int box_half_units);

}  // namespace coppice::cuda
