// Activations of bf16 in memory that tells what was written where.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "coppice/dtype.h"
#include "coppice/linear.h"
#include "cpu/guards.h"
#include "cpu/random_weight.h"

namespace coppice::cpu {

inline constexpr std::uint16_t kBf16Nan = 0x7fc0;

inline float bf16_value(std::uint16_t bits) { return to_float(Dtype::bf16, bits); }
inline std::uint16_t bf16_bits(float value) {
  return static_cast<std::uint16_t>(from_float(Dtype::bf16, value));
}

/// Normally distributed numbers; rows may lie apart.
struct Bf16Matrix {
  std::vector<std::uint16_t> memory;
  BasicActivations<std::uint16_t> view;

  Bf16Matrix(Random& random, std::int64_t tokens, std::int64_t features, Layout layout) {
    const bool by_tokens = layout == Layout::token_major;
    const std::int64_t minors = by_tokens ? features : tokens;
    const std::int64_t stride = minors + random_int(random, 0, 3);
    memory.resize(static_cast<std::size_t>((by_tokens ? tokens : features) * stride + 1));
    std::normal_distribution<float> normal;
    for (std::uint16_t& v : memory) v = bf16_bits(normal(random));
    view = {memory.data(), tokens, features, layout, stride};
  }
  BasicActivations<const std::uint16_t> input() const {
    return {view.data, view.tokens, view.features, view.layout, view.stride};
  }
  double at(std::int64_t t, std::int64_t f) const { return bf16_value(view.at(t, f)); }
  /// What lies between the rows of the matrix is as it was poisoned.
  bool guards_untouched() const {
    return guards_hold(memory, view, [](std::uint16_t v) { return v == kBf16Nan; });
  }
};

}  // namespace coppice::cpu
