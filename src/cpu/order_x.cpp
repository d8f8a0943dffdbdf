#include "cpu/order_x.h"

#include <algorithm>
#include <cstdint>

#include "cpu/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/order_x.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include "cpu/lookup-inl.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr std::int64_t kLanes = hn::MaxLanes(LaneTag());

HWY_INLINE Indices load_columns(const std::uint16_t* columns) {
  return hn::PromoteTo(IndexTag(), hn::LoadU(hn::Rebind<std::uint16_t, LaneTag>(), columns));
}
HWY_INLINE Indices load_columns(const std::uint32_t* columns) {
  return hn::LoadU(IndexTag(), columns);
}

// One register of every token out of a window of x. False, and nothing done, if the columns do not
// lie in it.
template <int kWindow, class Column>
HWY_INLINE bool look_up(const TokenSpan& x, std::int64_t cols, const Column* columns,
                        std::int64_t stride, float* out) {
  const std::int64_t first = columns[0];
  if (first + kWindow > cols) return false;
  const auto index =
      hn::Sub(load_columns(columns), hn::Set(IndexTag(), static_cast<std::uint32_t>(columns[0])));
  // A column below the first becomes a huge index, whose shifted bits tell as well.
  constexpr int kBits = kWindow == 32 ? 5 : 6;
  const auto beyond = hn::ShiftRight<kBits>(index);
  if (!hn::AllTrue(IndexTag(), hn::Eq(beyond, hn::Zero(IndexTag())))) return false;
  for (std::int64_t t = 0; t < x.tokens; ++t) {
    const Window<kWindow> window(x.data + t * x.token_step + first);
    hn::StoreU(window.lookup(index), LaneTag(), out + t * stride);
  }
  return true;
}

// Chosen columns lie close together (16 of V:2:8 within 32 of x), so that look-ups in registers
// replace most of the single loads.
template <class Column>
void gather_columns(const TokenSpan& x, std::int64_t cols, const Column* columns,
                    std::int64_t length, const std::byte* next, std::int64_t stride, float* out) {
  constexpr std::int64_t kLineBytes = 64, kColumnsPerLine = 8;  // about what memory delivers
  for (std::int64_t p = 0; p < length; p += kLanes) {
    const std::int64_t count = std::min(kLanes, length - p);
    for (std::int64_t i = 0; i < count; i += kColumnsPerLine)
      hwy::Prefetch(next + (p + i) / kColumnsPerLine * kLineBytes);
    if (count == kLanes && x.column_step == 1) {
      if (look_up<32>(x, cols, columns + p, stride, out + p)) continue;
      if (look_up<64>(x, cols, columns + p, stride, out + p)) continue;
    }
    for (std::int64_t t = 0; t < x.tokens; ++t)
      for (std::int64_t i = p; i < p + count; ++i)
        out[t * stride + i] =
            x.data[t * x.token_step + static_cast<std::int64_t>(columns[i]) * x.column_step];
  }
}

void gather(const TokenSpan& x, std::int64_t cols, const ColumnLists& order, std::int64_t list,
            std::int64_t length, const std::byte* next, std::int64_t stride, float* out) {
  if (order.is_narrow())
    gather_columns(x, cols, order.narrow(list), length, next, stride, out);
  else
    gather_columns(x, cols, order.wide(list), length, next, stride, out);
}

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace coppice::cpu {
namespace {

HWY_EXPORT(gather);

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

void order_tokens(const TokenSpan& x, std::int64_t cols, const ColumnLists& order,
                  std::int64_t list, std::int64_t length, std::int64_t padding,
                  const std::byte* next, std::int64_t stride, float* out) {
  if (!order.empty()) HWY_DYNAMIC_DISPATCH(gather)(x, cols, order, list, length, next, stride, out);
  for (std::int64_t t = 0; t < x.tokens; ++t, out += stride) {
    const float* from = x.data + t * x.token_step;
    if (order.empty() && x.column_step == 1)
      std::copy_n(from, length, out);
    else if (order.empty())
      for (std::int64_t p = 0; p < length; ++p) out[p] = from[p * x.column_step];
    std::fill_n(out + length, padding, 0.0f);
  }
}

}  // namespace coppice::cpu
#endif  // HWY_ONCE
