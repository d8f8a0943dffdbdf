// Masks of 4 of 8 as addresses: see LookupConfig::tabled.
#pragma once

#include "cuda/element/lookup_config.h"

namespace coppice::cuda {

/// The tables of all lanes, by all warps: entry e of lane l is word 32 e + l. Its group of columns
/// is the one of the lane. A warp has 8 entries at a time, a lane finds one of them, and all lanes
/// write it.
template <LookupConfig kConfig>
__device__ inline void fill_tables(std::uint32_t* tables) {
  constexpr int kEntries = kConfig.table_bytes() / 128, kTogether = 8;
  const int lane = threadIdx.x % 32, warps = static_cast<int>(blockDim.x) / 32;
  const std::uint32_t group =
      lane % kElementLanes * kConfig.form.group * kConfig.column_bytes() * 0x01010101u;
  for (int first = static_cast<int>(threadIdx.x) / 32 * kTogether; first < kEntries;
       first += warps * kTogether) {
    const std::uint32_t own = mask_places(first + lane % kTogether, kConfig.column_bytes());
#pragma unroll
    for (int i = 0; i < kTogether; ++i)
      tables[(first + i) * 32 + lane] = __shfl_sync(0xffffffffu, own, i) + group;
  }
}

}  // namespace coppice::cuda
