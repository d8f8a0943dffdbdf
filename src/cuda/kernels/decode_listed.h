// The activations of a ring kernel's tile where columns are listed: for every vector of the tile
// all of its columns alive, a row for each token, picked once for all warps. Which columns these
// are is the weight's and known before activations may be read. These come a token at a time, as
// they lie, since loads of single elements take a line of L2 each.
#pragma once

#include "cuda/kernels/decode_ring.h"
#include "cuda/kernels/wgmma_columns.h"
#include "cuda/ptx/load_once.h"

namespace coppice::cuda::decode {

class ListedRows {
 public:
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

  /// Puts columns where the first token's activations will be, for threads to find them there after
  /// a barrier.
  __device__ void find() const {
    const int of_vector = p_.steps * kStepQuads;
#pragma unroll 2
    for (int number = 2 * threadIdx.x; number < all_; number += 2 * blockDim.x)
      ptx::store_shared(shared_ + number * 8,
                        columns_of_quads(p_, load_quads(p_, list_, number), number % of_vector));
    // Lists may name one behind the last, where values are 0.
    const int behind = p_.cols + static_cast<int>(threadIdx.x);
    if (behind < a_.ring.dense_bytes / 2) ptx::store_shared_2(dense() + 2 * behind, 0);
  }

  /// Brings the activations of these columns. All warps have them when it returns.
  __device__ void bring() const {
#pragma unroll 1
    for (int token = tokens_ - 1; token >= 0; --token) {  // the first one takes the columns' place
      if (a_.x_token_major && a_.x_wide)
        stage_wide(x_ + token * p_.x_stride);
      else if (a_.x_token_major)
        stage(x_ + token * p_.x_stride, 1);
      else
        stage(x_ + token, p_.x_stride);
      __syncthreads();
      pick(shared_ + static_cast<std::uint32_t>(token * a_.ring.listed_pitch));
      ptx::fence_async_proxy();  // the copy engine writes there next
      __syncthreads();
    }
  }

  /// Row of a token; those behind the last are the last one's.
  __device__ std::uint32_t row(int token) const {
    return shared_ + static_cast<std::uint32_t>(min(token, tokens_ - 1) * a_.ring.listed_pitch);
  }

 private:
  // Where all columns of a token lie while they are picked.
  __device__ std::uint32_t dense() const { return shared_ + a_.ring.late_place; }

  // All columns of a token, 8 at a time where they lie on 16 bytes.
  __device__ void stage_wide(const std::uint16_t* from) const {
    const int octets = p_.cols / 8;
#pragma unroll 4
    for (int i = threadIdx.x; i < octets; i += blockDim.x)
      ptx::store_shared(dense() + 16 * i, __ldcg(reinterpret_cast<const uint4*>(from) + i));
    for (int i = 8 * octets + threadIdx.x; i < p_.cols; i += blockDim.x)
      ptx::store_shared_2(dense() + 2 * i, __ldcg(from + i));
  }
  __device__ void stage(const std::uint16_t* from, std::int64_t of_column) const {
#pragma unroll 4
    for (int i = threadIdx.x; i < p_.cols; i += blockDim.x)
      ptx::store_shared_2(dense() + 2 * i, __ldcg(from + i * of_column));
  }

  __device__ void pick(std::uint32_t row) const {
#pragma unroll 2
    for (int number = threadIdx.x; number < all_; number += blockDim.x) {
      const uint2 columns = ptx::load_shared_8(shared_ + number * 8);
      ptx::store_shared(row + number * 8, make_uint2(pair(columns.x), pair(columns.y)));
    }
  }

  // Two columns, 16 bits each.
  __device__ std::uint32_t pair(std::uint32_t columns) const {
    const std::uint32_t low = ptx::load_shared_2(dense() + 2 * (columns & 0xFFFF));
    const std::uint32_t high = ptx::load_shared_2(dense() + 2 * (columns >> 16));
    return low | high << 16;
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
