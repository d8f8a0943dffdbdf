// Shared memory of a wgmma kernel that expands its weight: stages of activations, a part of a step
// each, and stages of records, a step each, with the masks of columns alive; tables for the latter.
#pragma once

#include "cuda/kernels/expand_layout.h"
#include "cuda/kernels/wgmma_pipeline.h"

namespace coppice::cuda {

/// A place in a ring of stages with two barriers each.
template <int kStages>
struct Ring {
  static constexpr int kBytes = kStages * 16;
  std::uint32_t barriers;
  std::uint32_t stage = 0, phase = 0;

  __device__ void init(int consumers) const {
    for (int s = 0; s < kStages; ++s) {
      ptx::barrier_init(barriers + 8 * s, 1);
      ptx::barrier_init(barriers + 8 * (kStages + s), 4 * consumers);
    }
  }
  __device__ std::uint32_t full_barrier() const { return barriers + 8 * stage; }
  __device__ std::uint32_t empty_barrier() const { return barriers + 8 * (kStages + stage); }
  __device__ void wait_full() const { ptx::barrier_wait(full_barrier(), phase); }
  __device__ void wait_empty() const { ptx::barrier_wait(empty_barrier(), phase ^ 1); }
  __device__ void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

template <WgmmaConfig kConfig>
requires(kConfig.expands()) struct Pipeline<kConfig> {
  static constexpr expand::Parts kParts = expand::parts(kConfig.source == Source::fives);
  static constexpr int kSlots = kParts.slots();
  static constexpr int kStepProducts = kParts.count * kParts.products;
  static constexpr int kPartBytes = kConfig.tile_tokens() * kSlots * 2;
  static constexpr int kMaskBytes = kConfig.shape.blocks() * expand::kBlockMaskBytes;
  static constexpr int kWeightBytes = kConfig.weight_bytes() + kMaskBytes;
  static constexpr int kStages = kConfig.shape.expand_stages(kPartBytes);
  static constexpr std::uint32_t kStageBytes = kPartBytes;
  static constexpr int kWeightStages = WgmmaShape::kExpandWeightStages;

  std::uint32_t activations, weights, staging, codes, entries, sums, infos;
  Ring<kStages> x;
  Ring<kWeightStages> w;

  __device__ explicit Pipeline(const std::byte* shared) {
    const std::uint32_t base = ptx::shared_address(shared);
    constexpr std::uint32_t kAlignment = WgmmaConfig::kAlignment;
    activations = (base + kAlignment - 1) / kAlignment * kAlignment;
    staging = activations + kStages * kPartBytes;
    // Codes and entries are found by or: each table is aligned to its size.
    codes = staging + kConfig.shape.staging_bytes();
    static_assert(kConfig.shape.staging_bytes() % (expand::kMasks * 4) == 0);
    entries = codes + expand::kMasks * 4;
    weights = codes + expand::kTableBytes;
    x.barriers = weights + kWeightStages * kWeightBytes;
    w.barriers = x.barriers + Ring<kStages>::kBytes;
    sums = w.barriers + Ring<kWeightStages>::kBytes;
    infos = sums + 16;
  }
  __device__ void init() const {
    x.init(kConfig.consumers());
    w.init(kConfig.consumers());
    ptx::barrier_init(sums, 1);
    ptx::fence_barrier_init();
  }
  /// Written with a tile's first record, before the arrival that completes it. Rows: padded ones.
  __device__ void announce(const TileInfo& tile) const { store_tile(infos + 16 * w.stage, tile); }
  __device__ TileInfo wait_announced() const {
    w.wait_full();
    return load_tile(infos + 16 * w.stage);
  }
  /// By all threads, before a barrier of the block.
  __device__ void make_tables(int group, int thread) const {
    for (int i = thread; i < expand::kMasks; i += kConfig.threads())
      ptx::store_shared(codes + 4 * i, expand::pair_codes(static_cast<std::uint32_t>(i)));
    for (int i = thread; i < 2 * expand::kCodes; i += kConfig.threads())
      ptx::store_shared(entries + 4 * i,
                        expand::entry(group, i >= expand::kCodes,
                                      static_cast<std::uint32_t>(i % expand::kCodes)));
  }
  __device__ std::uint32_t activation_tile() const { return activations + x.stage * kPartBytes; }
  __device__ std::uint32_t weight_tile() const { return weights + w.stage * kWeightBytes; }
  __device__ std::uint32_t masks() const { return weight_tile() + kConfig.weight_bytes(); }
};

}  // namespace coppice::cuda
