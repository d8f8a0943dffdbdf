// A Gram matrix as pruning reads it. Not part of the public API.
#pragma once

#include <cstdint>

namespace coppice::prune {

/// `[cols, cols]`, row-major, symmetric. Only the diagonal and what is above it are read.
struct GramView {
  const double* data = nullptr;
  std::int64_t cols = 0;

  double at(std::int64_t row, std::int64_t col) const { return data[row * cols + col]; }
};

}  // namespace coppice::prune
