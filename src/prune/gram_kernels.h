// The inner loop of symmetric products X^T X, one implementation for each instruction set. Not part
// of the public API.
#pragma once

#include <cstdint>

namespace coppice::prune {

/// Columns of a panel: 32 neighbouring columns of X, row by row, [depth, 32], with zeros beyond the
/// last column.
inline constexpr int kGramPanel = 32;

/// tile[i][j] = sum over d of a[d][i] * b[d][j]. a, b: [depth, 32]; tile: [32, 32].
void multiply_panels(const float* a, const float* b, std::int64_t depth, float* tile);

}  // namespace coppice::prune
