// Eight elements of 16 bits, as they lie in a 16-byte chunk, in fp32.
#pragma once

#include "cuda/kernels/epilogue.h"

namespace coppice::cuda {

struct Values {
  float v[8];
};

template <Dtype kType>
__device__ inline Values unpack(uint4 chunk) {
  const std::uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
  Values out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack_pair<kType>(words[i]);
    out.v[2 * i] = pair.x;
    out.v[2 * i + 1] = pair.y;
  }
  return out;
}

template <Dtype kType>
__device__ inline uint4 pack(const Values& values) {
  std::uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) words[i] = pack_pair<kType>(values.v[2 * i], values.v[2 * i + 1]);
  return make_uint4(words[0], words[1], words[2], words[3]);
}

}  // namespace coppice::cuda
