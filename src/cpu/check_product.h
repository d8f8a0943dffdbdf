// The checks that every product starts with.
#pragma once

#include <fmt/format.h>

#include <cstdint>

#include "coppice/error.h"
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
template <typename T>
void check_product(std::int64_t rows, std::int64_t cols, const Activations& x,
                   const BasicActivations<T>& y, const Epilogue& epilogue) {
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

}  // namespace coppice::cpu
