// Random operands: normally distributed, never zeros.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/sparse_matrix.h"

namespace coppice::bench {

/// Fills with normally distributed numbers, fast: drawn from a table of 64 K of them.
void fill_normal(std::span<float> out, std::uint64_t seed);

/// A weight of this pattern whose every choice is drawn at random and whose values are normal.
/// Written straight in the canonical form, so that large shapes need no dense matrix and no
/// pruning.
/// @param values kept as they are if they are as many bytes as this weight's: those of another
/// weight of the same dtype, whose making takes most of the time.
SparseMatrix random_weight(const Pattern& pattern, std::int64_t rows, std::int64_t cols,
                           Dtype dtype, std::uint64_t seed, std::vector<std::byte> values = {});

}  // namespace coppice::bench
