// Which kernel multiplies for which problem: pure, no state, tested without running a kernel.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cpu/packed_weight.h"

namespace coppice::cpu {

enum class KernelFamily : std::uint8_t {
  few_tokens,   ///< lanes are rows; bound by reading the weight
  many_tokens,  ///< lanes are tokens; bound by arithmetic
};

struct KernelChoice {
  KernelFamily family = KernelFamily::few_tokens;
  WeightFormat format = WeightFormat::shared;
  int window = 0;  ///< lane only
  Dtype dtype = Dtype::f32;
  /// Tokens that one reading of the weight serves. many_tokens: of the few-tokens kernel for the
  /// rest, 0 if there is none.
  int token_tile = 1;
  int rest_tokens = 0;  ///< many_tokens: the last ones, which would leave most of a vector empty

  friend bool operator==(const KernelChoice&, const KernelChoice&) = default;
};

/// The tile of the few-tokens kernels for so many tokens: 1, 2, 4 or 8.
int few_tokens_tile(std::int64_t tokens);

/// @param target as of target_name(): "AVX3", "AVX2", "SSE4", "NEON", ...
KernelChoice select_kernel(const PackedLayout& layout, Dtype dtype, std::int64_t tokens,
                           std::string_view target);

/// For a weight that is not packed yet. Throws InvalidArgument for dtypes that have no kernel.
KernelChoice select_kernel(const Pattern& pattern, const WeightShape& shape, Dtype dtype,
                           std::int64_t tokens, std::string_view target);

/// Whether activations of bf16 are multiplied by look-ups (bf16_lookup.h), where they can be.
bool prefers_lookup(const PackedLayout& layout, std::int64_t tokens);

/// Such as "few-tokens/window16/bf16/tile4".
std::string to_string(const KernelChoice& choice);

}  // namespace coppice::cpu
