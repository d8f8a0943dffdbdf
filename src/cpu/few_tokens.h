// The product for few tokens: a weight is read once, from end to end, for a tile of tokens.
#pragma once

#include "cpu/packed_weight.h"

namespace coppice::cpu {

/// Most tokens that one reading of a panel serves.
inline constexpr int kMaxTokenTile = 8;

/// Sums of one panel for a tile of tokens: sums[t * 16 + lane] = sum over slots of value * x.
/// @param panel  the panel's bytes (packed_weight.h)
/// @param list   shared format: the panel's list of columns, 16 or 32 bits each; else unused
/// @param x      shared: [cols][tile], the tile's tokens beside each other;
///               lane: [tile] rows of the ordered x, `x_stride` apart, `window` readable floats
///               beyond x_length
/// @param sums   [tile][16], aligned to 64 bytes
using PanelKernel = void (*)(const PackedLayout& layout, const std::byte* panel, const void* list,
                             const float* x, std::int64_t x_stride, float* sums);

struct PanelKernelKey {
  WeightFormat format = WeightFormat::shared;
  int window = 0;            ///< lane only
  int tile = 1;              ///< tokens: 1, 2, 4 or 8
  bool narrow_list = false;  ///< shared only: 16-bit columns
};

/// The kernel on the target in use. Never null for a key that packed_layout can lead to.
PanelKernel f32_panel_kernel(const PanelKernelKey& key);
PanelKernel f16_panel_kernel(const PanelKernelKey& key);
PanelKernel bf16_panel_kernel(const PanelKernelKey& key);

/// act(alpha * sums + bias), in place, for the panel's rows and some tokens. sums: [tokens][16].
void finish_sums(const Panel& panel, float* sums, int tokens, const Epilogue& epilogue);

/// y = act(alpha * sums + bias) for the panel's rows and `tokens` tokens from `token` on; sums are
/// overwritten.
void finish_panel(const Panel& panel, float* sums, std::int64_t token, int tokens,
                  const MutableActivations& y, const Epilogue& epilogue);

/// The whole product, for any number of tokens. Arguments are checked already.
void few_tokens_multiply(const PackedWeight::Impl& weight, const Activations& x,
                         const MutableActivations& y, const Epilogue& epilogue, int threads);

}  // namespace coppice::cpu
