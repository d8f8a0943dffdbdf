// Is a product right? Checked on samples, against the double-precision reference.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "coppice/sparse_matrix.h"

namespace coppice::bench {

/// Some tokens and rows of a product.
struct OutputBlock {
  std::int64_t token = 0, tokens = 0, row = 0, rows = 0;
};

/// Gives the activations of the block's tokens, `x[tokens][cols]`, and its outputs,
/// `y[tokens][rows]`.
using FetchBlock =
    std::function<void(const OutputBlock& block, std::span<float> x, std::span<float> y)>;

inline constexpr int kErrorSamples = 12;

/// |y - reference| / |reference| (Frobenius norms) over the first, the last and some random vectors
/// of rows, at the first, the last and some random tokens; `samples` together.
double sampled_error(const SparseMatrix& weight, std::int64_t tokens, const FetchBlock& fetch,
                     int samples = kErrorSamples);

}  // namespace coppice::bench
