// Moving a weight between the layout of its tensor and dense row-major [rows, cols]. Not part of
// the public API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "coppice/checkpoint.h"

namespace coppice {

/// Elements of 1, 2 or 4 bytes: out[c, r] = in[r, c]. `in` is [rows, cols], `out` [cols, rows],
/// both packed, aligned or not; they must not overlap.
void transpose(const std::byte* in, std::byte* out, std::int64_t rows, std::int64_t cols,
               int element_bytes, int threads);

/// Bytes of the weight, the same stored and dense.
std::size_t weight_bytes(const LinearWeight& weight);

/// From a tensor's bytes to dense. `out` has weight_bytes() bytes.
void load_weight(const LinearWeight& weight, std::span<const std::byte> stored, std::byte* out,
                 int threads);

/// From dense to a tensor's bytes, handed to `write` piece by piece in their order.
void store_weight(const LinearWeight& weight, const std::byte* dense, int threads,
                  const std::function<void(std::span<const std::byte>)>& write);

}  // namespace coppice
