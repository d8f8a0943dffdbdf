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
  int token_tile = 1;  ///< few_tokens: tokens that one reading of the weight serves

  friend bool operator==(const KernelChoice&, const KernelChoice&) = default;
};

/// @param target as of target_name(): "AVX3", "AVX2", "SSE4", "NEON", ...
KernelChoice select_kernel(const PackedLayout& layout, Dtype dtype, std::int64_t tokens,
                           std::string_view target);

/// For a weight that is not packed yet. Throws InvalidArgument for dtypes that have no kernel.
KernelChoice select_kernel(const Pattern& pattern, const WeightShape& shape, Dtype dtype,
                           std::int64_t tokens, std::string_view target);

/// Such as "few-tokens/window16/bf16/tile4".
std::string to_string(const KernelChoice& choice);

}  // namespace coppice::cpu
