// The activations of a ring kernel's tile where columns are listed: for every vector of the tile
// all of its columns alive, a row for each token, looked up once for all warps. Which columns these
// are is the weight's and known before activations may be read.
#pragma once

#include "cuda/kernels/columns.h"
#include "cuda/kernels/decode_ring.h"
#include "cuda/ptx/bytes.h"
#include "cuda/ptx/load_once.h"

namespace coppice::cuda::decode {

class ListedRows {
 public:
  static constexpr int kQuads = 4;  ///< that a thread looks up side by side

  /// @param vectors of the tile, which begins with `first_vector`. @param shared where rows lie.
  __device__ ListedRows(const DecodeArguments& a, const ProductArguments& p,
                        std::int32_t first_vector, int vectors, std::int32_t first_token,
                        std::uint32_t shared)
      : a_(a),
        p_(p),
        list_(column_list(p, first_vector)),
        all_(vectors * p.steps * kStepQuads),
        tokens_(min(a.shape.tokens, p.tokens - first_token)),
        shared_(shared),
        x_(static_cast<const std::uint16_t*>(p.x) +
           first_token * (a.x_token_major ? p.x_stride : 1)) {}

  /// Puts this thread's columns where the first token's activations will be.
  __device__ void find() const {
    const int of_vector = p_.steps * kStepQuads;
#pragma unroll 2
    for (int number = threadIdx.x; number < all_; number += blockDim.x)
      ptx::store_shared(shared_ + number * 8,
                        quad_columns(p_, load_quad(p_, list_, number), number % of_vector));
  }

  /// Brings the activations of these columns.
  __device__ void bring() const {
    if (a_.x_token_major)
      bring_all<true>();
    else
      bring_all<false>();
  }

  /// Row of a token; those behind the last are the last one's.
  __device__ std::uint32_t row(int token) const {
    return shared_ + static_cast<std::uint32_t>(min(token, tokens_ - 1) * a_.ring.listed_pitch);
  }

 private:
  template <bool kTokenMajor>
  __device__ void bring_all() const {
#pragma unroll 1
    for (int number = threadIdx.x; number < all_; number += kQuads * blockDim.x)
      bring<kTokenMajor>(number);
  }

  // Of quads `first` and kQuads - 1 more, a thread block apart.
  template <bool kTokenMajor>
  __device__ void bring(int first) const {
    const std::uint16_t* from = x_;
    std::uint32_t to = shared_ + first * 8;
    const auto there = [&](int i) { return first + i * static_cast<int>(blockDim.x) < all_; };
    uint2 columns[kQuads];
#pragma unroll
    for (int i = 0; i < kQuads; ++i)
      if (there(i)) columns[i] = ptx::load_shared_8(to + i * blockDim.x * 8);
#pragma unroll 1
    for (int token = 0; token < tokens_; ++token) {
      uint2 pairs[kQuads];
#pragma unroll
      for (int i = 0; i < kQuads; ++i)
        if (there(i))
          pairs[i] = make_uint2(pair<kTokenMajor>(from, columns[i].x),
                                pair<kTokenMajor>(from, columns[i].y));
#pragma unroll
      for (int i = 0; i < kQuads; ++i)
        if (there(i)) ptx::store_shared(to + i * blockDim.x * 8, pairs[i]);
      from += kTokenMajor ? p_.x_stride : 1;
      to += a_.ring.listed_pitch;
    }
  }

  // Two columns, 16 bits each, of a token.
  template <bool kTokenMajor>
  __device__ std::uint32_t pair(const std::uint16_t* from, std::uint32_t columns) const {
    const std::uint32_t first = columns & 0xFFFF, second = columns >> 16;
    if constexpr (kTokenMajor)  // addresses of 32 bits beside a common base
      return __ldcg(from + first) | static_cast<std::uint32_t>(__ldcg(from + second)) << 16;
    return __ldcg(from + first * p_.x_stride) |
           static_cast<std::uint32_t>(__ldcg(from + second * p_.x_stride)) << 16;
  }

  const DecodeArguments& a_;
  const ProductArguments& p_;
  const std::byte* list_;  // of the first vector; the others follow
  int all_;                // quads of all vectors
  int tokens_;
  std::uint32_t shared_;
  const std::uint16_t* x_;
};

/// Which of a run's units begin another vector than the unit before, a bit for each; every lane
/// passes the vector of the unit of its number.
__device__ inline std::uint32_t vector_starts(std::int32_t vector, int units, int lane) {
  const std::int32_t before = __shfl_up_sync(~0u, vector, 1);
  return __ballot_sync(~0u, lane > 0 && lane < units && vector != before);
}

}  // namespace coppice::cuda::decode
