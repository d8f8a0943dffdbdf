// Outputs of whole blocks of 64 rows: through shared memory, 32 tokens at a time, and from there by
// the copy engine, which does not wait in the queue of the gather's copies and cuts off what lies
// behind the last token (of feature-major outputs: if tokens are a multiple of 8).
#pragma once

#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/wgmma_pipeline.h"
#include "cuda/kernels/wgmma_residual.h"
#include "cuda/ptx/tensor_copy.h"

namespace coppice::cuda {

/// One warpgroup's buffers for outputs, used in turn.
template <WgmmaConfig kConfig>
class Staging {
 public:
  static constexpr int kBuffers = kConfig.shape.staging;
  // Fences and barriers queue behind the gather's copies, so that fewer of them are better; but
  // half of the buffers are read while the others are filled.
  static constexpr int kTogether = kBuffers / 2;

  __device__ Staging(std::uint32_t staging, int thread)
      : first_(staging + thread / 128 * kBuffers * kStoredBytes),
        barrier_(2 + thread / 128),
        thread_(thread) {
    const int lane = thread % 32, warp = thread / 32 % 4;
    const int matrix = lane / 8, row = 16 * warp + lane % 8, token = lane;
    by_row_ = row * 64 + (matrix ^ row / 2 % 4) * 16;
    by_token_ = token * 128 + (2 * warp ^ token % 8) * 16;
  }
  /// Writes 64 rows x 32 tokens from sums that are ready, as `pairs[half][matrix]`.
  __device__ void write(const std::uint32_t (&pairs)[2][4], bool token_major, int buffer) const {
    const std::uint32_t base = first_ + buffer * kStoredBytes;
    if (token_major) {
      ptx::store_matrix_4_transposed(base + by_token_, pairs[0]);
      ptx::store_matrix_4_transposed((base + by_token_) ^ 16, pairs[1]);
    } else {
      ptx::store_matrix_4(base + by_row_, pairs[0]);
      ptx::store_matrix_4(base + by_row_ + 8 * 64, pairs[1]);
    }
  }
  /// Sends off `kTogether` buffers from `buffer` on; on return the next ones are free.
  __device__ void send(const CUtensorMap& map, int row, int token, bool token_major,
                       int buffer) const {
    const bool leads = thread_ % 128 == 0;
    if (leads) ptx::bulk_wait_read<0>();
    ptx::fence_async_proxy();
    ptx::group_barrier(barrier_, 128);
    if (!leads) return;
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int t = token + i * kStoredTokens;
      ptx::store_box(&map, token_major ? row : t, token_major ? t : row,
                     first_ + (buffer + i) * kStoredBytes);
    }
    ptx::bulk_commit();
  }

  /// Before the thread block may end.
  __device__ void drain() const {
    if (thread_ % 128 == 0) ptx::bulk_wait();
  }

 private:
  std::uint32_t first_, by_row_, by_token_;
  int barrier_, thread_;
};

/// The straight line for one kind of epilogue: the choice is made once for all sums.
struct StoreForm {
  Activation activation = Activation::none;
  bool plain = false;     // alpha is 1 and there is no bias
  bool combines = false;  // with a residual or factor out of the ring
};

/// Adds what the ring brought for 16 rows x 32 tokens, or multiplies by it.
template <WgmmaConfig kConfig>
__device__ inline void combine_staged(const EpilogueArguments& e, std::uint32_t residual, int part,
                                      float (&v)[16]) {
  std::uint32_t pairs[2][4];
  ResidualStages<kConfig>::read(pairs, residual, part, e.token_major);
#pragma unroll
  for (int j = 0; j < 4; ++j)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float2 other = unpack_pair<kConfig.type>(pairs[h][j]);
      v[4 * j + 2 * h] = combine(e, v[4 * j + 2 * h], other.x);
      v[4 * j + 2 * h + 1] = combine(e, v[4 * j + 2 * h + 1], other.y);
    }
}

template <WgmmaConfig kConfig, StoreForm kForm, int kBlocks, int kCount>
__device__ inline void store_formed(const EpilogueArguments& e, const CUtensorMap& map,
                                    const Staging<kConfig>& staging,
                                    const ResidualStages<kConfig>& residual,
                                    const UnitOutput (&out)[kBlocks],
                                    const float (&d)[kBlocks][kCount], int warp) {
  using Buffers = Staging<kConfig>;
  constexpr int kParts = kCount / 16;
  static_assert(kParts % Buffers::kBuffers == 0);
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
    if (out[i].unit.rows == 0) continue;
    std::uint32_t begin = 0;
    if constexpr (kForm.combines)
      begin = residual.begin(i, warp, ptx::thread_index() % 32, e.token_major);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const int buffer = part % Buffers::kBuffers;
      float v[16];
#pragma unroll
      for (int k = 0; k < 16; ++k) {
        const float sum = d[i][16 * part + k];
        v[k] = kForm.plain ? sum : fmaf(e.alpha, sum, out[i].bias[k / 2 % 2]);
      }
      activate_fragment(kForm.activation, v);
      if constexpr (kForm.combines) combine_staged<kConfig>(e, begin, part, v);
      std::uint32_t pairs[2][4];
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          pairs[h][j] = pack_pair<kConfig.type>(v[4 * j + 2 * h], v[4 * j + 2 * h + 1]);
      staging.write(pairs, e.token_major, buffer);
      constexpr int kTogether = Buffers::kTogether;
      if (part % kTogether == kTogether - 1)
        staging.send(map, out[i].unit.row - kUnitRows * warp,
                     out[i].first_token + kStoredTokens * (part - kTogether + 1), e.token_major,
                     buffer - kTogether + 1);
    }
  }
}

/// Stores the sums of whole blocks. With a residual there is no activation (multiply.cpp).
template <WgmmaConfig kConfig, int kBlocks, int kCount>
__device__ inline void store_staged(const EpilogueArguments& e, const CUtensorMap& map,
                                    const Staging<kConfig>& staging,
                                    const ResidualStages<kConfig>& residual,
                                    const UnitOutput (&out)[kBlocks],
                                    const float (&d)[kBlocks][kCount], int warp) {
  const auto store = [&]<StoreForm kForm>() {
    store_formed<kConfig, kForm>(e, map, staging, residual, out, d, warp);
  };
  if constexpr (kConfig.brings_residuals())
    if (e.residual != nullptr) return store.template operator()<StoreForm{.combines = true}>();
  if (e.activation == Activation::none && e.alpha == 1 && e.bias == nullptr)
    return store.template operator()<StoreForm{.plain = true}>();
  switch (e.activation) {
    case Activation::none:
      return store.template operator()<StoreForm{Activation::none}>();
    case Activation::relu:
      return store.template operator()<StoreForm{Activation::relu}>();
    case Activation::gelu:
      return store.template operator()<StoreForm{Activation::gelu}>();
    case Activation::gelu_tanh:
      return store.template operator()<StoreForm{Activation::gelu_tanh}>();
    case Activation::silu:
      return store.template operator()<StoreForm{Activation::silu}>();
  }
}

}  // namespace coppice::cuda
