// The inner functions of the product for many tokens, one set for each target.
#pragma once

#include <cstdint>

#include "cpu/many_tokens_plan.h"
#include "cpu/packed_weight.h"

namespace coppice::cpu {

/// A kept weight of the lane format, decoded: the fp32 value in the high half; in the low half the
/// byte offset of its row in a token panel of x. One 64-bit load fetches both.
using DecodedWeight = std::uint64_t;

/// Decoded weights lie in slabs of so many rows, [16 / kSlabRows][slots][kSlabRows]: the rows of a
/// register tile are one or more streams that are read from front to back.
inline constexpr int kSlabRows = 4;

/// Decodes the lane format's slots of one panel and block.
struct DecodeTask {
  const PackedLayout* layout = nullptr;
  Dtype dtype = Dtype::f32;
  const std::byte* panel = nullptr;  ///< the panel's bytes
  SlotBlock block;
  const std::int32_t* windows = nullptr;  ///< of all slots
  std::uint32_t pitch_bytes = 0;
  const std::uint32_t* offsets = nullptr;  ///< [positions + 16] byte offsets of the block's rows of
                                           ///< x; null: position * pitch_bytes
  std::int64_t next = 0;                   ///< from these bytes to those decoded next
  DecodedWeight* out = nullptr;            ///< [16 / kSlabRows][slots][kSlabRows]
};

/// Multiplies one row panel's block of slots by one token panel.
struct TileTask {
  const float* x = nullptr;  ///< the token panel, [cols][pitch]
  int strips = 1;            ///< of 16 tokens, at most pitch / 16
  int pitch = kStripTokens;
  int rows = kPanelRows;  ///< rows that count; sums of others may be left alone
  int slots = 0;
  const DecodedWeight* decoded = nullptr;  ///< lane format: in slabs
  const float* values = nullptr;           ///< shared format: [slots][16]
  const std::uint32_t* offsets = nullptr;  ///< shared format: [slots] byte offsets of rows of x
  float* sums = nullptr;                   ///< [16][pitch]
  bool first = false;                      ///< sums start at 0
  std::int64_t next = 0;  ///< shared format: bytes from these values to others, which are fetched
};

struct ManyTokensKernels {
  /// Copies columns [begin, end) of some tokens to a token panel: out[(col - begin) * pitch + t];
  /// tokens beyond, up to the next strip, become 0.
  void (*pack_x)(const Activations& x, std::int64_t token, int tokens, int pitch,
                 std::int64_t begin, std::int64_t end, float* out);
  /// 16 * slots values of the shared format to fp32. Fetches what lies `next` bytes on.
  void (*convert)(Dtype dtype, const std::byte* from, int slots, std::int64_t next, float* out);
  void (*decode)(const DecodeTask& task);
  void (*multiply_shared)(const TileTask& task);
  void (*multiply_lanes)(const TileTask& task);
  /// y = act(alpha * sums + bias) for a panel's rows and `tokens` tokens from `token` on.
  /// @param sums [16][pitch], overwritten
  void (*store_y)(const Panel& panel, float* sums, int pitch, std::int64_t token, int tokens,
                  const MutableActivations& y, const Epilogue& epilogue);
};

/// The set for the target in use.
const ManyTokensKernels& many_tokens_kernels();

}  // namespace coppice::cpu
