// Ways between [feature][token] panels and both layouts of activations. For every target.
#if defined(COPPICE_CPU_MANY_TOKENS_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COPPICE_CPU_MANY_TOKENS_TRANSPOSE_INL_H_
#undef COPPICE_CPU_MANY_TOKENS_TRANSPOSE_INL_H_
#else
#define COPPICE_CPU_MANY_TOKENS_TRANSPOSE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/many_tokens_kernels.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

constexpr std::int64_t kTransposeBlock = 1;
HWY_INLINE void transpose_block(const float* HWY_RESTRICT from, std::int64_t,
                                float* HWY_RESTRICT to, std::int64_t) {
  *to = *from;
}

#else

constexpr std::int64_t kTransposeBlock = 4;

// to[j * to_stride + i] = from[i * from_stride + j] for i, j < 4.
HWY_INLINE void transpose_block(const float* HWY_RESTRICT from, std::int64_t from_stride,
                                float* HWY_RESTRICT to, std::int64_t to_stride) {
  const hn::CappedTag<float, 4> d;
  const hn::RepartitionToWide<decltype(d)> wide;
  const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + from_stride);
  const auto c = hn::LoadU(d, from + 2 * from_stride), e = hn::LoadU(d, from + 3 * from_stride);
  const auto ab_low = hn::BitCast(wide, hn::InterleaveLower(d, a, b));
  const auto ab_high = hn::BitCast(wide, hn::InterleaveUpper(d, a, b));
  const auto ce_low = hn::BitCast(wide, hn::InterleaveLower(d, c, e));
  const auto ce_high = hn::BitCast(wide, hn::InterleaveUpper(d, c, e));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, ab_low, ce_low)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, ab_low, ce_low)), d, to + to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, ab_high, ce_high)), d, to + 2 * to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, ab_high, ce_high)), d, to + 3 * to_stride);
}

#endif

// to[j * to_stride + i] = from[i * from_stride + j] for i < rows, j < cols.
HWY_INLINE void transpose(const float* HWY_RESTRICT from, std::int64_t from_stride,
                          std::int64_t rows, std::int64_t cols, float* HWY_RESTRICT to,
                          std::int64_t to_stride) {
  const std::int64_t whole_rows = rows / kTransposeBlock * kTransposeBlock,
                     whole_cols = cols / kTransposeBlock * kTransposeBlock;
  for (std::int64_t i = 0; i < whole_rows; i += kTransposeBlock)
    for (std::int64_t j = 0; j < whole_cols; j += kTransposeBlock)
      transpose_block(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = i < whole_rows ? whole_cols : 0; j < cols; ++j)
      to[j * to_stride + i] = from[i * from_stride + j];
}

void pack_x(const Activations& x, std::int64_t token, int tokens, int pitch, std::int64_t begin,
            std::int64_t end, float* out) {
  const std::int64_t stride = x.major_stride();
  const int padding = (kStripTokens - tokens % kStripTokens) % kStripTokens;
  if (x.layout == Layout::feature_major) {
    for (std::int64_t col = begin; col < end; ++col)
      std::memcpy(out + (col - begin) * pitch, x.data + col * stride + token,
                  static_cast<std::size_t>(tokens) * sizeof(float));
  } else {
    // 16 columns at a time: a cache line of every token, read whole.
    constexpr std::int64_t kCols = 16;
    for (std::int64_t col = begin; col < end; col += kCols)
      transpose(x.data + token * stride + col, stride, tokens, std::min(kCols, end - col),
                out + (col - begin) * pitch, pitch);
  }
  if (padding == 0) return;
  for (std::int64_t col = begin; col < end; ++col)
    std::memset(out + (col - begin) * pitch + tokens, 0,
                static_cast<std::size_t>(padding) * sizeof(float));
}

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // COPPICE_CPU_MANY_TOKENS_TRANSPOSE_INL_H_
