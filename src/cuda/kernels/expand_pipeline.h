// Shared memory of a wgmma kernel that expands its weight: stages of activations, a part of a step
// each, and stages of records, a step each, with the codes of their windows; tables.
#pragma once

#include "cuda/kernels/expand_layout.h"
#include "cuda/kernels/expand_ordered_layout.h"
#include "cuda/kernels/wgmma_pipeline.h"
#include "cuda/ptx/cluster_halves.h"
#include "cuda/ptx/group_arrive.h"

namespace coppice::cuda {

/// A place in a ring of stages with two barriers each.
template <int kStages>
struct Ring {
  static constexpr int kBytes = kStages * 16;
  std::uint32_t barriers;
  std::uint32_t stage = 0, phase = 0;

  __device__ void init(int producers, int consumers) const {
    for (int s = 0; s < kStages; ++s) {
      ptx::barrier_init(barriers + 8 * s, producers);
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
  /// `count` places, at most all.
  __device__ void skip(std::uint32_t count) {
    stage += count;
    if (stage >= kStages) stage -= kStages, phase ^= 1;
  }
};

/// The tile of a thread block that has one, as TileWalk's.
template <WgmmaConfig kConfig>
class OneTile {
 public:
  TileWalk<kConfig>::Tile now, next;

  __device__ explicit OneTile(const ProductArguments& p) {
    const TilePlace place = tile_place(static_cast<int>(blockIdx.x) / p.slices, p.row_tile_count,
                                       p.token_tile_count, p.token_group);
    now.rows = {{place.row_tile, place.row_tile * kBlockRows, kBlockRows, 0}};
    now.token = place.token_tile * kConfig.tile_tokens();
  }
  __device__ bool valid() const { return valid_; }
  __device__ void advance() { valid_ = false; }
  __device__ TileInfo info() const { return {now.rows.row, now.rows.rows, now.token}; }

 private:
  bool valid_ = true;
};
template <WgmmaConfig kConfig>
using ExpandWalk =
    std::conditional_t<(kConfig.shape.col_groups > 1), OneTile<kConfig>, TileWalk<kConfig>>;

/// The tables of all groups, for the copy engine.
__device__ constexpr expand::Tables kExpandTables[] = {expand::tables(5), expand::tables(6),
                                                       expand::tables(7), expand::tables(8)};

/// The same for windows of 16.
__device__ constexpr expand::OrderedTables kOrderedTables = expand::ordered_tables();

template <WgmmaConfig kConfig>
requires(kConfig.expands()) struct Pipeline<kConfig> {
  static constexpr expand::Parts kParts = expand::parts(kConfig.form());
  static constexpr int kSlots = kParts.slots();
  static constexpr int kStepProducts = kParts.count * kParts.products;
  static constexpr int kPartBytes = kConfig.tile_tokens() * kSlots * 2;
  static constexpr int kCodeBytes =
      kConfig.shape.blocks() * expand::block_code_bytes(kConfig.form());
  static constexpr int kWeightBytes = kConfig.weight_bytes() + kCodeBytes;
  static constexpr int kStages = kConfig.shape.expand_stages(kConfig.form());
  static constexpr std::uint32_t kStageBytes = kPartBytes;
  static constexpr std::uint32_t kTableBytes = expand::table_bytes(kConfig.form());
  static constexpr int kWeightStages = kConfig.shape.expand_weight_stages(kConfig.form());

  std::uint32_t activations, weights, staging, codes, entries, tables_full, sums, infos;
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
    weights = codes + kTableBytes;
    x.barriers = weights + kWeightStages * kWeightBytes;
    w.barriers = x.barriers + Ring<kStages>::kBytes;
    sums = w.barriers + Ring<kWeightStages>::kBytes;
    tables_full = sums + 8;
    infos = sums + 16;
  }
  /// By one thread.
  __device__ void init() const {
    // A stage is for the warpgroups of all rows and tokens; those along the columns take turns.
    constexpr int kReaders = kConfig.consumers() / kConfig.shape.col_groups;
    x.init(1, kReaders);
    // The copy of the records, and who looks up their codes.
    w.init(2, kConfig.expands_in_order() ? kConfig.consumers() : kReaders);
    ptx::barrier_init(sums, 1);
    ptx::barrier_init(tables_full, 1);
    ptx::fence_barrier_init();
  }
  /// By every warp, once. `kWaits`: for the barriers to be made; else this warp has made them.
  template <bool kWaits>
  __device__ void begin(const ProductArguments& p) const {
    if constexpr (kWaits)
      ptx::group_barrier<0, kConfig.threads()>();
    else
      ptx::group_arrive<0, kConfig.threads()>();
    if constexpr (kConfig.shape.col_groups > 1)
      if (p.slices > 1) ptx::cluster_arrive_relaxed();
  }
  /// Written with a tile's first record, before the arrival that completes it. Rows: padded ones.
  __device__ void announce(const TileInfo& tile) const { store_tile(infos + 16 * w.stage, tile); }
  __device__ TileInfo wait_announced() const {
    w.wait_full();
    return load_tile(infos + 16 * w.stage);
  }
  /// By one thread.
  __device__ void copy_tables(int group) const {
    const void* tables = &kOrderedTables;
    if constexpr (!kConfig.expands_in_order()) tables = &kExpandTables[group - expand::kLeastGroup];
    ptx::barrier_arrive_expect(tables_full, kTableBytes);
    ptx::copy_bulk(codes, tables, kTableBytes, tables_full);
  }
  __device__ void wait_tables() const { ptx::barrier_wait(tables_full, 0); }
  __device__ std::uint32_t activation_tile() const { return activations + x.stage * kPartBytes; }
  __device__ std::uint32_t weight_tile() const { return weights + w.stage * kWeightBytes; }
  /// Of each unit, the codes of a step's windows, or the ways to expand them.
  __device__ std::uint32_t window_codes() const { return weight_tile() + kConfig.weight_bytes(); }
};

}  // namespace coppice::cuda
