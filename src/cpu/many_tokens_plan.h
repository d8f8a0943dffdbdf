// How a product for many tokens is cut up. Plain host code, the same on every target.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/packed_weight.h"

namespace coppice::cpu {

/// Tokens that are multiplied side by side, in whole strips.
inline constexpr int kStripTokens = 16;
/// Most tokens of a token panel: the distance of two rows of packed x.
inline constexpr int kMaxPitch = 64;
/// Most tokens of a pass: decoded weights are used for all of them.
inline constexpr int kMaxPassTokens = 256;
/// Most row panels of a chunk: its sums for a pass take 256 KB, a quarter of an L2 cache.
inline constexpr int kMaxChunkPanels = 16;
/// Most slots of a block: a chunk's decoded weights take up to 256 KB.
inline constexpr int kMaxBlockSlots = 128;
/// Bytes of packed x that a block may touch: two thirds of a 48 KB L1 cache.
inline constexpr int kBlockBytes = 32 << 10;
/// Entries of an offset table: the positions that a block can reach, and room for one vector more.
inline constexpr int kMaxBlockPositions = 512 + 16;

/// Tokens [token, token + tokens) of one pass over the weight.
struct TokenPass {
  std::int64_t token = 0;
  int tokens = 0;
  int pitch = kStripTokens;  ///< tokens of a token panel; the last one may hold fewer

  int token_panels() const { return (tokens + pitch - 1) / pitch; }
  /// Tokens in a token panel.
  int panel_tokens(int panel) const { return std::min(pitch, tokens - panel * pitch); }
  int panel_strips(int panel) const {
    return (panel_tokens(panel) + kStripTokens - 1) / kStripTokens;
  }
};

/// Passes of nearly equal length for all tokens.
std::vector<TokenPass> token_passes(std::int64_t tokens);

/// Neighbouring slots, and the positions of the ordered x that they can reach.
struct SlotBlock {
  std::int64_t slot = 0;
  int slots = 0;
  std::int64_t position = 0;
  int positions = 0;
};

/// Blocks for all slots of a panel.
/// @param windows  lane format: where each slot's window starts; shared format: empty
std::vector<SlotBlock> slot_blocks(const PackedLayout& layout,
                                   const std::vector<std::int32_t>& windows, int pitch);

/// Lane format: where the window of every slot starts. Shared format: empty.
std::vector<std::int32_t> slot_windows(const PackedLayout& layout);

/// Panels of one task: enough tasks for all threads, and panels that read by the same list
/// together.
int chunk_panels(const PackedWeight::Impl& weight, int threads);

}  // namespace coppice::cpu
