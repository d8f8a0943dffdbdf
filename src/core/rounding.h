// Whole numbers of parts.
#pragma once

#include <cstdint>

namespace coppice {

/// Of non-negative numbers.
constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return ceil_div(value, unit) * unit;
}

}  // namespace coppice
