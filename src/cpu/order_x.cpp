#include "cpu/order_x.h"

#include <algorithm>

namespace coppice::cpu {
namespace {

// A line of the weight for every 8 positions gathered: about what memory delivers meanwhile.
constexpr std::int64_t kStep = 8, kLineBytes = 64;

template <typename Column>
void gather(const float* x, std::int64_t step, const Column* columns, std::int64_t length,
            const std::byte* next, float* out) {
  std::int64_t p = 0;
  for (; p + kStep <= length; p += kStep) {
    __builtin_prefetch(next + p / kStep * kLineBytes);
    for (std::int64_t i = p; i < p + kStep; ++i) out[i] = x[std::int64_t{columns[i]} * step];
  }
  for (; p < length; ++p) out[p] = x[std::int64_t{columns[p]} * step];
}

template <int kTile>
void interleave(const TokenSpan& x, std::int64_t begin, std::int64_t end, float* out) {
  for (std::int64_t c = begin; c < end; ++c) {
    const float* from = x.data + c * x.column_step;
    for (int t = 0; t < kTile; ++t) out[c * kTile + t] = from[t * x.token_step];
  }
}

}  // namespace

TokenSpan::TokenSpan(const Activations& x, std::int64_t first, std::int64_t count) : tokens(count) {
  const bool token_major = x.layout == Layout::token_major;
  token_step = token_major ? x.major_stride() : 1;
  column_step = token_major ? 1 : x.major_stride();
  data = x.data + first * token_step;
}

void interleave_tokens(const TokenSpan& x, std::int64_t begin, std::int64_t end, int tile,
                       float* out) {
  if (x.tokens == 8 && tile == 8) return interleave<8>(x, begin, end, out);
  if (x.tokens == 4 && tile == 4) return interleave<4>(x, begin, end, out);
  if (x.tokens == 2 && tile == 2) return interleave<2>(x, begin, end, out);
  for (std::int64_t c = begin; c < end; ++c)
    for (int t = 0; t < tile; ++t)
      out[c * tile + t] = t < x.tokens ? x.data[t * x.token_step + c * x.column_step] : 0.0f;
}

void order_token(const TokenSpan& x, std::int64_t token, const ColumnLists& order,
                 std::int64_t list, std::int64_t length, std::int64_t padding,
                 const std::byte* next, float* out) {
  const float* from = x.data + token * x.token_step;
  if (order.empty()) {
    if (x.column_step == 1)
      std::copy_n(from, length, out);
    else
      for (std::int64_t p = 0; p < length; ++p) out[p] = from[p * x.column_step];
  } else if (order.is_narrow()) {
    gather(from, x.column_step, order.narrow(list), length, next, out);
  } else {
    gather(from, x.column_step, order.wide(list), length, next, out);
  }
  std::fill_n(out + length, padding, 0.0f);
}

}  // namespace coppice::cpu
