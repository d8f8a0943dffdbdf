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

#include "core/transpose-inl.h"
#include "cpu/many_tokens_kernels.h"
#include "hwy/cache_control.h"
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
  auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + from_stride);
  auto c = hn::LoadU(d, from + 2 * from_stride), e = hn::LoadU(d, from + 3 * from_stride);
  coppice::HWY_NAMESPACE::transpose_4x4(d, a, b, c, e);
  hn::StoreU(a, d, to);
  hn::StoreU(b, d, to + to_stride);
  hn::StoreU(c, d, to + 2 * to_stride);
  hn::StoreU(e, d, to + 3 * to_stride);
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

// Copies `tokens` floats, and zeros up to the next strip. `to` is aligned, `from` need not be.
HWY_INLINE void copy_strips(const float* HWY_RESTRICT from, int tokens, float* HWY_RESTRICT to) {
  const hn::CappedTag<float, kStripTokens> d;
  const int whole = tokens / kStripTokens * kStripTokens;
  for (int t = 0; t < whole; t += static_cast<int>(hn::Lanes(d)))
    hn::Store(hn::LoadU(d, from + t), d, to + t);
  if (whole == tokens) return;
  std::copy_n(from + whole, tokens - whole, to + whole);
  std::fill(to + tokens, to + whole + kStripTokens, 0.0f);
}

// Columns [begin, end) of token-major x, 16 at a time: a cache line of every token, read whole.
// Lines of one column lie a row apart, where the processor fetches nothing ahead by itself.
HWY_INLINE void transpose_columns(const Activations& x, std::int64_t token, int tokens, int pitch,
                                  std::int64_t begin, std::int64_t end, float* out) {
  constexpr std::int64_t kCols = 16;
  const std::int64_t stride = x.major_stride();
  for (std::int64_t col = begin; col < end; col += kCols, out += kCols * pitch) {
    const std::int64_t cols = std::min(kCols, end - col);
    const float* from = x.data + token * stride + col;
    for (int t = 0; t < tokens; t += kTransposeBlock) {
      const int count = std::min<int>(kTransposeBlock, tokens - t);
      for (int i = 0; i < count && col + kCols < end; ++i)
        hwy::Prefetch(from + (t + i) * stride + kCols);
      transpose(from + t * stride, stride, count, cols, out + t, pitch);
    }
    const int padding = (kStripTokens - tokens % kStripTokens) % kStripTokens;
    for (std::int64_t i = 0; i < cols && padding > 0; ++i)
      std::fill_n(out + i * pitch + tokens, padding, 0.0f);
  }
}

void pack_x(const Activations& x, std::int64_t token, int tokens, int pitch, std::int64_t begin,
            std::int64_t end, float* out) {
  if (x.layout == Layout::token_major)
    return transpose_columns(x, token, tokens, pitch, begin, end, out);
  for (std::int64_t col = begin; col < end; ++col, out += pitch)
    copy_strips(x.data + col * x.major_stride() + token, tokens, out);
}

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // COPPICE_CPU_MANY_TOKENS_TRANSPOSE_INL_H_
