// Copies of x in the order in which the kernels for few tokens read it.
#pragma once

#include <cstdint>

#include "cpu/packed_weight.h"

namespace coppice::cpu {

/// Some consecutive tokens of x, by address: token t, column c is data[t * token_step + c *
/// column_step].
struct TokenSpan {
  const float* data = nullptr;
  std::int64_t tokens = 0;
  std::int64_t token_step = 0, column_step = 0;

  TokenSpan(const Activations& x, std::int64_t first, std::int64_t count);

  /// `count` of these tokens, from one on.
  TokenSpan slice(std::int64_t first, std::int64_t count) const {
    TokenSpan part = *this;
    part.data += first * token_step;
    part.tokens = count;
    return part;
  }

  /// They lie as interleave_tokens would leave them.
  bool interleaved(int tile) const {
    return tokens == tile && column_step == tile && (tile == 1 || token_step == 1);
  }
};

/// Tokens of a tile beside each other, out[c * tile + t], for columns [begin, end). Missing tokens
/// are 0.
void interleave_tokens(const TokenSpan& x, std::int64_t begin, std::int64_t end, int tile,
                       float* out);

/// Tokens in the order of a list of columns (all columns if `order` is empty), each followed by
/// `padding` zeros: out[t * stride + p] = x[order.at(list, p)]. On the way it fetches the first
/// bytes of `next`: gathering would leave the memory idle.
/// @param cols  columns of x
void order_tokens(const TokenSpan& x, std::int64_t cols, const ColumnLists& order,
                  std::int64_t list, std::int64_t length, std::int64_t padding,
                  const std::byte* next, std::int64_t stride, float* out);

}  // namespace coppice::cpu
