// The products of a stage of a dense weight with lists: its pieces (element/element_layout.h) are
// atoms of the 64-byte swizzle as they lie, so wgmma reads them like any K-major A.
#pragma once

#include "cuda/kernels/wgmma_consume.h"

namespace coppice::cuda {

template <WgmmaConfig kConfig>
requires(kConfig.dense()) struct Operands<kConfig> {
  static constexpr int kBlocks = kConfig.shape.group_blocks;
  static constexpr bool kTokenMajor = kConfig.source == Source::runs;
  static constexpr int kTransB = kTokenMajor ? 0 : 1;
  static constexpr int kStep = kConfig.step_cols();
  static constexpr std::uint32_t kPiece = 512;  // 8 rows x kRunCols
  static constexpr std::uint32_t kHighA =
      ptx::descriptor_high(kStep / kRunCols * kPiece, ptx::Swizzle::bytes_64);
  // 32 columns of all tokens of the tile lie together. MN-major: panels of 64 tokens, a row of 128
  // bytes a column. K-major: a row of 64 bytes a token.
  static constexpr std::uint32_t kHighB = kTokenMajor
                                              ? ptx::descriptor_high(8 * 64, ptx::Swizzle::bytes_64)
                                              : ptx::descriptor_high(1024, ptx::Swizzle::bytes_128);
  static constexpr std::uint32_t kRunBytes = kConfig.tile_tokens() * kRunCols * 2;
  std::uint32_t a, b;

  __device__ Operands(const ProductArguments&, const Pipeline<kConfig>& pipe,
                      const ConsumerPlace& place) {
    a = ptx::descriptor_low(pipe.weights + place.row_group * kBlocks * kConfig.shape.block_bytes(),
                            16);
    b = ptx::descriptor_low(
        pipe.activations + place.token_group * kConfig.shape.tokens * kRunCols * 2, kRunCols * 128);
  }

  /// From the first column of a step to number 16 * i.
  static constexpr std::uint32_t next_a(int i) { return (i / 2 * kPiece + i % 2 * 32) >> 4; }
  static constexpr std::uint32_t next_b(int i) {
    return (i / 2 * kRunBytes + i % 2 * (kTokenMajor ? 32 : 16 * 128)) >> 4;
  }

  template <int kCount>
  __device__ void multiply(std::uint32_t stage, float (&d)[kBlocks][kCount],
                           std::uint32_t (&)[kBlocks], bool adds) const {
    const std::uint32_t a_now = a + stage * (kConfig.weight_bytes() >> 4);
    const std::uint32_t b_now = b + stage * (kConfig.activation_bytes() >> 4);
    ptx::wgmma_fence();
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int i = 0; i < kStep / 16; ++i)
        ptx::dense_wgmma<kConfig.type, kTransB>(
            d[block],
            ptx::matrix_descriptor(a_now + block * (kConfig.shape.block_bytes() >> 4) + next_a(i),
                                   kHighA),
            ptx::matrix_descriptor(b_now + next_b(i), kHighB),
            i == 0 ? static_cast<std::uint32_t>(adds) : 1);
    ptx::wgmma_commit();
  }
};

}  // namespace coppice::cuda
