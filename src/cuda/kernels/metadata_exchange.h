// Metadata of a weight that lanes expand to 2:4 in registers, on its way to the lanes that the
// instruction reads it from.
#pragma once

#include <cstdint>

#include "cuda/ptx/bytes.h"

namespace coppice::cuda {

/// Brings 8 times 4 bits of every lane to the lanes that wgmma reads them from: nibble 2i + j of
/// lane t's bytes 0, 1 (row g) and 2, 3 (row g + 8), with u = 2i + j, goes to lane u, place t of
/// its row's half.
class MetadataExchange {
 public:
  __device__ explicit MetadataExchange(int t)
      : own_(t % 2 == 0 ? 0x0F0F0F0F : 0xF0F0F0F0),
        turn_(t % 2 == 0 ? 28 : 4),
        bytes_(t < 2 ? 0x6240 : 0x3715) {}
  __device__ std::uint32_t operator()(std::uint32_t word) const {
    const std::uint32_t beside = __shfl_xor_sync(0xffffffffu, word, 1);
    const std::uint32_t mine = (word & own_) | (__funnelshift_r(beside, beside, turn_) & ~own_);
    const std::uint32_t across = __shfl_xor_sync(0xffffffffu, mine, 2);
    return ptx::select_bytes(mine, across, bytes_);
  }

 private:
  std::uint32_t own_, turn_, bytes_;
};

}  // namespace coppice::cuda
