// The checks that every product starts with.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>

#include "coppice/error.h"
#include "coppice/grid.h"
#include "coppice/linear.h"

namespace coppice::cpu {

template <typename T>
void check_activations(const BasicActivations<T>& a, const char* name) {
  if (a.tokens < 0 || a.features < 0)
    throw InvalidArgument(fmt::format("{} has {} tokens and {} features, both need to be 0 or more",
                                      name, a.tokens, a.features));
  const std::int64_t packed = a.layout == Layout::token_major ? a.features : a.tokens;
  if (a.major_stride() < packed)
    throw InvalidArgument(
        fmt::format("{} has a stride of {}, needs at least {}", name, a.stride, packed));
  if (a.data == nullptr && a.tokens > 0 && a.features > 0)
    throw InvalidArgument(fmt::format("{} has no data", name));
}

/// Throws InvalidArgument unless x is [tokens, cols], y is [tokens, rows] and bias is empty or
/// [rows].
template <typename X, typename Y>
void check_product(std::int64_t rows, std::int64_t cols, const BasicActivations<X>& x,
                   const BasicActivations<Y>& y, const Epilogue& epilogue) {
  check_activations(x, "x");
  check_activations(y, "y");
  if (x.features != cols)
    throw InvalidArgument(
        fmt::format("x has {} features, the weight has {} columns", x.features, cols));
  if (y.features != rows)
    throw InvalidArgument(
        fmt::format("y has {} features, the weight has {} rows", y.features, rows));
  if (x.tokens != y.tokens)
    throw InvalidArgument(fmt::format("x has {} tokens, y has {}", x.tokens, y.tokens));
  if (!epilogue.bias.empty() && std::ssize(epilogue.bias) != rows)
    throw InvalidArgument(fmt::format("bias has {} values, needs one for each of {} rows",
                                      epilogue.bias.size(), rows));
}

/// Throws InvalidArgument unless dy is [tokens, rows], x or dx [tokens, cols], and there are as
/// many values as the weight stores.
inline void check_gradients(const Grid& grid, std::int64_t dy_tokens, std::int64_t dy_features,
                            std::int64_t tokens, std::int64_t features, std::size_t values) {
  if (dy_features != grid.rows() || features != grid.cols() || dy_tokens != tokens)
    throw InvalidArgument(fmt::format(
        "a weight of {} x {} needs dy [tokens, {}] and x [tokens, {}]; got [{}, {}] and [{}, {}]",
        grid.rows(), grid.cols(), grid.rows(), grid.cols(), dy_tokens, dy_features, tokens,
        features));
  if (values != static_cast<std::size_t>(grid.rows() * grid.kept()))
    throw InvalidArgument(
        fmt::format("got {} values, the weight stores {} x {}", values, grid.rows(), grid.kept()));
}

}  // namespace coppice::cpu
