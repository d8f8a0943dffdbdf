// How much a change of weights changes the output, row by row. Not part of the public API.
#pragma once

#include <cstdint>
#include <vector>

#include "prune/second_order/gram_view.h"

namespace coppice::prune {

/// For each row, d G dᵀ with d = a - b; b may be null for zeros. a, b: [rows, cols].
/// (output_error.h has the sum over rows, for any dtype.)
std::vector<double> squared_outputs(const float* a, const float* b, std::int64_t rows,
                                    const GramView& gram, int threads);

}  // namespace coppice::prune
