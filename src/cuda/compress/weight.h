// Weights as pruning sees them: keys, which order as magnitudes do, and scores.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "coppice/dtype.h"
#include "cuda/compress/arguments.h"

namespace coppice::cuda {

/// One element type. A key is the element's bits without the sign; keys above kInfinity are NaN.
template <Dtype kType>
struct Weight {
  static_assert(kType == Dtype::f16 || kType == Dtype::bf16);
  using Bits = std::uint16_t;
  static constexpr int kKeyBits = 15;
  static constexpr std::int32_t kInfinity = kType == Dtype::f16 ? 0x7c00 : 0x7f80;
  __device__ static float score(std::int32_t key) {
    if constexpr (kType == Dtype::f16)
      return __half2float(__ushort_as_half(static_cast<unsigned short>(key)));
    else
      return __int_as_float(key << 16);
  }
};
template <>
struct Weight<Dtype::f32> {
  using Bits = std::uint32_t;
  static constexpr int kKeyBits = 31;
  static constexpr std::int32_t kInfinity = 0x7f800000;
  __device__ static float score(std::int32_t key) { return __int_as_float(key); }
};

template <Dtype kType>
__device__ inline std::int32_t key_of(std::uint32_t bits) {
  return static_cast<std::int32_t>(bits & ((1u << Weight<kType>::kKeyBits) - 1));
}

/// What an infinite score counts in sums that are compared: more than any sum of finite ones.
inline constexpr double kInfinityScore = 0x1p150;

template <Dtype kType>
__device__ inline double capped_score(std::int32_t key) {
  return key >= Weight<kType>::kInfinity ? kInfinityScore
                                         : static_cast<double>(Weight<kType>::score(key));
}

template <Dtype kType>
__device__ inline const typename Weight<kType>::Bits* weight_at(const CompressArguments& a,
                                                                std::int64_t row,
                                                                std::int64_t col) {
  return static_cast<const typename Weight<kType>::Bits*>(a.dense) + row * a.row_stride + col;
}

template <Dtype kType>
__device__ inline void note_nan(const CompressArguments& a, std::int32_t key, std::int64_t row,
                                std::int64_t col) {
  if (key > Weight<kType>::kInfinity)
    atomicMin(a.nan, static_cast<unsigned long long>(row * a.cols + col));
}

/// Up to kCount weights of a row as bits, zeros behind `count`. Whole 16-byte loads where `wide`.
template <Dtype kType, int kCount>
__device__ inline void load_weights(const typename Weight<kType>::Bits* from, int count, bool wide,
                                    std::uint32_t (&bits)[kCount]) {
  using Bits = typename Weight<kType>::Bits;
  constexpr int kPer = 16 / static_cast<int>(sizeof(Bits));
  static_assert(kCount % kPer == 0);
  if (wide && count == kCount) {
#pragma unroll
    for (int v = 0; v < kCount / kPer; ++v) {
      const uint4 vector = __ldg(reinterpret_cast<const uint4*>(from) + v);
      const std::uint32_t words[4] = {vector.x, vector.y, vector.z, vector.w};
#pragma unroll
      for (int e = 0; e < kPer; ++e) {
        if constexpr (sizeof(Bits) == 4)
          bits[v * kPer + e] = words[e];
        else
          bits[v * kPer + e] = e % 2 == 0 ? words[e / 2] & 0xffff : words[e / 2] >> 16;
      }
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) bits[i] = i < count ? __ldg(from + i) : 0;
}

}  // namespace coppice::cuda
