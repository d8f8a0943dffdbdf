// What the kernels of norms share.
#pragma once

#include "cuda/kernels/norm.h"
#include "cuda/kernels/transpose_tile.h"
#include "cuda/kernels/values.h"

namespace coppice::cuda {

using Element = std::uint16_t;
inline constexpr int kTile = TileShape<Element>::kTile;

/// 8 factors or terms of the features from `col` on; `other` where there are none.
template <Dtype kType, bool kWhole>
__device__ Values features_of(const NormArguments& p, const void* data, std::int64_t col,
                              float other) {
  Values out;
  if (data != nullptr && (kWhole || (p.wide_factors && col + 8 <= p.move.cols)))
    return unpack<kType>(
        __ldg(reinterpret_cast<const uint4*>(static_cast<const Element*>(data) + col)));
#pragma unroll
  for (int i = 0; i < 8; ++i)
    out.v[i] =
        data != nullptr && col + i < p.move.cols ? load_element<kType>(data, col + i) : other;
  return out;
}

inline bool on_16_bytes(const void* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

inline void find_wide(NormArguments& p) {
  p.move.wide_from = on_16_bytes(p.move.from) && p.move.from_stride % 8 == 0;
  p.move.wide_to = on_16_bytes(p.move.to) && p.move.to_stride % 8 == 0;
  p.wide_factors = on_16_bytes(p.norm.weight) && on_16_bytes(p.norm.bias);
}

}  // namespace coppice::cuda
