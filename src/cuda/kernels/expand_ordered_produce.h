// The producers of a wgmma kernel that expands a weight of windows of 16 columns (see
// expand_ordered_layout.h), where they differ from expand_produce.h: activations come in order, and
// beside each record every way to expand its windows.
#pragma once

#include <algorithm>

#include "cuda/kernels/expand_pipeline.h"
#include "cuda/ptx/bytes.h"
#include "cuda/ptx/tensor_copy.h"

namespace coppice::cuda {

/// The part of a step of activations: 64 columns of all tokens of the tile.
template <WgmmaConfig kConfig>
requires(kConfig.expands_in_order()) __device__
    inline void copy_part(const ProductArguments& p, const WgmmaMaps& maps,
                          const Pipeline<kConfig>& pipe, int token, int step, int part) {
  constexpr int kPanelBytes = kStepCols * 128;
  constexpr int kTokens = kConfig.tile_tokens();
  const std::uint32_t tile = pipe.activation_tile(), full = pipe.x.full_barrier();
  const int col = (step * expand::kOrderedParts + part) * kStepCols;
  // As in OrderedCopies: nothing that lies behind the last token.
  const int tokens = min(kTokens, p.tokens - token);
  if constexpr (kConfig.reads_tokens()) {
    ptx::barrier_arrive_expect(full, tokens * (kStepCols * 2));
    ptx::load_box(tile, tokens < kTokens ? &maps.x_rest : &maps.x, col, token, full);
  } else {
    const int panels = (tokens + 63) / 64;
    ptx::barrier_arrive_expect(full, panels * kPanelBytes);
#pragma unroll
    for (int panel = 0; panel < kTokens / 64; ++panel)
      if (panel < panels)
        ptx::load_box(tile + panel * kPanelBytes, &maps.x, token + 64 * panel, col, full);
  }
}

template <WgmmaConfig kConfig>
struct LaneMasks;

/// The columns alive of some windows of a step: what a lane makes ways of.
template <WgmmaConfig kConfig>
requires(kConfig.expands_in_order()) struct LaneMasks<kConfig> {
  static constexpr int kLanes = 32 / (kConfig.shape.blocks() * kBlockUnits);  // of a unit
  static constexpr int kCount = kStepQuads / kLanes;
  static constexpr int kAhead = 8 / kCount;  // steps
  static constexpr int kWindowBytes = 2;     // of a list: four offsets of 4 bits
  static constexpr int kApart = kLanes;      // windows: so that stores meet no bank twice
  std::uint32_t offsets[kCount];

  __device__ static LaneMasks load(const std::byte* list, int step) {
    LaneMasks masks = {};
    if (list == nullptr) return masks;  // nothing is multiplied there
    const auto* from =
        reinterpret_cast<const std::uint16_t*>(list + step * kStepQuads * kWindowBytes);
#pragma unroll
    for (int i = 0; i < kCount; ++i) masks.offsets[i] = __ldg(from + i * kApart);
    return masks;
  }
  /// Byte of a lane's first window among the ways of a step, and in a list.
  __device__ static std::uint32_t first_code(int lane) {
    return lane / kLanes * expand::kUnitWayBytes + lane % kLanes * expand::kWindowWayBytes;
  }
  __device__ static int first_byte(int lane) { return lane % kLanes * kWindowBytes; }
  __device__ void look_up(const Pipeline<kConfig>& pipe, std::uint32_t to) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      store_ways(pipe.codes, offsets[i], to + i * kApart * expand::kWindowWayBytes);
  }

 private:
  static __device__ uint4 share(std::uint32_t table, bool second, std::uint32_t place) {
    constexpr std::uint32_t kFirstBytes = sizeof(expand::Share) * expand::kOrderedGroup;
    return ptx::load_shared_16((table | place) + (second ? kFirstBytes : 0));
  }
  static __device__ void store_ways(std::uint32_t table, std::uint32_t list, std::uint32_t to) {
    // 16 bytes a place. Behind a short last window's columns, which repeat, places follow.
    std::uint32_t place[4] = {list << 4 & 0xF0, list & 0xF0, list >> 4 & 0xF0, list >> 8 & 0xF0};
#pragma unroll
    for (int i = 1; i < 4; ++i) place[i] = max(place[i], place[i - 1] + 16);
    std::uint32_t metadata[expand::kPairs] = {};
    uint4 first[3];
#pragma unroll
    for (int y = 1; y < 4; ++y) {  // few registers
      first[y - 1] = share(table, false, place[y - 1]);
      const uint4 second = share(table, true, place[y]);
#pragma unroll
      for (int x = 0; x < y; ++x) {
        const std::uint32_t index = expand::pair_index(pair_bits(x, y));
        metadata[index] = first[x].z ^ second.z;
        ptx::store_shared(to + index * 8, make_uint2(first[x].x ^ second.x, first[x].y ^ second.y));
      }
    }
    std::uint32_t halves[expand::kPairs / 2];
#pragma unroll
    for (int i = 0; i < expand::kPairs / 2; ++i)
      halves[i] = ptx::select_bytes(metadata[2 * i], metadata[2 * i + 1], 0x5410);
    ptx::store_shared(to + offsetof(expand::WindowWays, metadata),
                      make_uint4(halves[0], halves[1], halves[2], halves[3]));
  }
};

}  // namespace coppice::cuda
