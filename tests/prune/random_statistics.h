// Random activations, and their statistics in plain double precision.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "coppice/statistics.h"

namespace coppice::testing {

/// [tokens, cols], columns of different size that depend on each other.
inline std::vector<float> random_activations(std::int64_t tokens, std::int64_t cols,
                                             std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(tokens * cols));
  for (std::int64_t t = 0; t < tokens; ++t) {
    float previous = 0;
    for (std::int64_t c = 0; c < cols; ++c) {
      previous = 0.6f * previous + normal(random);
      x[static_cast<std::size_t>(t * cols + c)] = previous * static_cast<float>(1 + c % 7);
    }
  }
  return x;
}

inline InputStatistics reference_statistics(const std::vector<float>& x, std::int64_t cols) {
  const std::int64_t tokens = std::ssize(x) / cols;
  InputStatistics out{cols, tokens, std::vector<double>(static_cast<std::size_t>(cols * cols)), {}};
  auto at = [&](std::int64_t t, std::int64_t c) {
    return static_cast<double>(x[static_cast<std::size_t>(t * cols + c)]);
  };
  for (std::int64_t i = 0; i < cols; ++i)
    for (std::int64_t j = 0; j < cols; ++j)
      for (std::int64_t t = 0; t < tokens; ++t)
        out.gram[static_cast<std::size_t>(i * cols + j)] += at(t, i) * at(t, j);
  for (std::int64_t i = 0; i < cols; ++i)
    out.square_sums.push_back(out.gram[static_cast<std::size_t>(i * cols + i)]);
  return out;
}

}  // namespace coppice::testing
