// The residual (or factor) of a tile: the copy engine brings it through the ring, a stage for every
// block of 64 rows behind the stages of the tile's products, so that its latency hides as theirs
// does. Read by the consumers themselves it would wait behind the gather's copies.
//
// In a stage: panels of 64 tokens, 8 KB each, in the 128-byte swizzle: rows of 64 tokens, or tokens
// of 64 rows where outputs are token-major.
#pragma once

#include "cuda/kernels/wgmma_pipeline.h"
#include "cuda/ptx/mma.h"
#include "cuda/ptx/tensor_copy.h"

namespace coppice::cuda {

inline constexpr int kResidualTokens = 64;  // of a panel
inline constexpr std::uint32_t kResidualPanelBytes = kBlockRows * kResidualTokens * 2;

/// Whether the ring brings residuals at all; the activations must not come run by run.
__host__ __device__ inline bool brings_residual(const ProductArguments& p) {
  return p.staged && p.epilogue.residual != nullptr && !p.lists.boxes;
}

/// Whether that of a tile comes, too: boxes of token-major matrices begin on 16 bytes.
__device__ inline bool brings_residual(const ProductArguments& p, const TileInfo& tile) {
  return brings_residual(p) && (!p.epilogue.token_major || tile.row % 8 == 0);
}

/// By all threads that arrive at the full barriers, one of which gives the orders. Every tile has
/// as many stages, some of them empty, so that consumers find theirs by the ring's place alone.
template <WgmmaConfig kConfig>
__device__ inline void bring_residual(const ProductArguments& p, const WgmmaMaps& maps,
                                      Pipeline<kConfig>& pipe, const TileInfo& tile, bool orders) {
  if (!brings_residual(p)) return;
  const int rows = brings_residual(p, tile) ? tile.rows : 0;
  const int tokens = min(kConfig.tile_tokens(), p.tokens - tile.token);
  const int panels = (tokens + kResidualTokens - 1) / kResidualTokens;
#pragma unroll 1
  for (int before = 0; before < kConfig.shape.rows(); before += kBlockRows) {
    pipe.wait_empty();
    if (orders) {
      const int row = tile.row + before;
      const int boxes = before < rows ? panels : 0;
      ptx::barrier_arrive_expect(pipe.full_barrier(), boxes * kResidualPanelBytes);
#pragma unroll 1
      for (int panel = 0; panel < boxes; ++panel) {
        const int token = tile.token + panel * kResidualTokens;
        ptx::load_box(pipe.activation_tile() + panel * kResidualPanelBytes, &maps.residual,
                      p.epilogue.token_major ? row : token, p.epilogue.token_major ? token : row,
                      pipe.full_barrier());
      }
    }
    if constexpr (kConfig.gathers()) ptx::barrier_arrive(pipe.full_barrier());
    pipe.advance();
  }
}

/// A consumer's stages of a tile's residual: the last ones before the ring's place. Nothing is kept
/// beside the sums, where it would be spilled.
template <WgmmaConfig kConfig>
class ResidualStages {
 public:
  static constexpr int kBlocks = kConfig.shape.group_blocks;
  static constexpr int kTileBlocks = kConfig.shape.blocks();
  static_assert(!kConfig.brings_residuals() || kTileBlocks <= kConfig.shape.stages);

  __device__ ResidualStages(const Pipeline<kConfig>& pipe, int row_group, int token_group)
      : pipe_(pipe), row_group_(row_group), token_group_(token_group) {}

  /// Waits for the stages of a tile's residual and lets those of other warpgroups go; by all
  /// threads of one, behind the products of the tile.
  __device__ void take(Pipeline<kConfig>& pipe) const {
#pragma unroll 1
    for (int block = 0; block < kTileBlocks; ++block) {
      pipe.wait_full();
      if (block / kBlocks != row_group_) let_go(pipe.empty_barrier());
      pipe.advance();
    }
  }

  /// Where this lane's part of a block begins; for `read`.
  __device__ std::uint32_t begin(int block, int warp, int lane, bool token_major) const {
    const std::uint32_t panels =
        pipe_.activations + stage(block) * Pipeline<kConfig>::kStageBytes +
        token_group_ * (kConfig.shape.tokens / kResidualTokens) * kResidualPanelBytes;
    const int row = 16 * warp + lane % 8;
    return panels + (token_major ? lane * 128 + (2 * warp ^ lane % 8) * 16
                                 : row * 128 + (lane / 8 ^ lane % 8) * 16);
  }
  /// 16 rows of a block x 32 tokens, as `pairs[half][matrix]` (see Staging::write).
  static __device__ void read(std::uint32_t (&pairs)[2][4], std::uint32_t begin, int part,
                              bool token_major) {
    const std::uint32_t panel = begin + part / 2 * kResidualPanelBytes;
    if (token_major) {
      const std::uint32_t at = panel + part % 2 * (32 * 128);
      ptx::load_matrix_4_transposed(pairs[0], at);
      ptx::load_matrix_4_transposed(pairs[1], at ^ 16);
    } else {
      const std::uint32_t at = panel ^ part % 2 * 64;
      ptx::load_matrix_4(pairs[0], at);
      ptx::load_matrix_4(pairs[1], at + 8 * 128);
    }
  }

  /// The stages are free again.
  __device__ void release() const {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) let_go(pipe_.empty + 8 * stage(i));
  }

 private:
  /// Of block number `block` of this warpgroup.
  __device__ std::uint32_t stage(int block) const {
    constexpr std::uint32_t kStages = kConfig.shape.stages;
    const std::uint32_t behind = pipe_.stage + kStages - kTileBlocks + row_group_ * kBlocks + block;
    return behind < kStages ? behind : behind - kStages;
  }
  static __device__ void let_go(std::uint32_t empty) {
    __syncwarp();  // every lane has read
    if (ptx::thread_index() % 32 == 0) ptx::barrier_arrive(empty);
  }

  const Pipeline<kConfig>& pipe_;
  int row_group_, token_group_;
};

}  // namespace coppice::cuda
