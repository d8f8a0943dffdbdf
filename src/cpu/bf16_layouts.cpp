// Activations to the orders that the bf16 kernels read, and sums back.
#include "cpu/bf16_avx512.h"

#ifdef COPPICE_CPU_BF16_KERNELS

COPPICE_CPU_BF16_BEGIN
namespace coppice::cpu::avx512 {

void pair(const std::uint16_t* even, const std::uint16_t* odd, std::int64_t count,
          std::uint16_t* out) {
  const PairOrders orders;
  for (std::int64_t i = 0; i < count; i += 32) {
    const __mmask32 lanes = first_lanes(count - i);
    const __m512i a = _mm512_maskz_loadu_epi16(lanes, even + i);
    const __m512i b =
        odd == nullptr ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi16(lanes, odd + i);
    _mm512_mask_storeu_epi16(out + 2 * i, first_lanes(2 * (count - i)),
                             _mm512_permutex2var_epi16(a, orders.lower, b));
    _mm512_mask_storeu_epi16(out + 2 * i + 32, first_lanes(2 * (count - i) - 32),
                             _mm512_permutex2var_epi16(a, orders.upper, b));
  }
}

void transpose_pairs(const Bf16Block& from, std::uint16_t* out, std::int64_t out_stride) {
  for (std::int64_t c = 0; c < from.cols; c += 32)
    for (std::int64_t r = 0; r < from.rows; r += 16) {
      const __mmask32 lanes = first_lanes(from.cols - c);
      __m512i v[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        v[i] = _mm512_maskz_loadu_epi16(r + i < from.rows ? lanes : 0,
                                        from.data + (r + i) * from.stride + c);
      transpose_16x16(v);
      const std::int64_t pairs = std::min<std::int64_t>(16, (from.cols - c + 1) / 2);
      for (std::int64_t p = 0; p < pairs; ++p)
        _mm512_store_si512(out + (c / 2 + p) * out_stride + 2 * r, v[p]);
    }
}

void transpose(const Bf16Block& from, std::uint16_t* out, std::int64_t out_stride) {
  const __m512i order = PairOrders().lower;
  for (std::int64_t c = 0; c < from.cols; c += 16)
    for (std::int64_t r = 0; r < from.rows; r += 32) {
      const auto lanes = static_cast<__mmask16>(first_lanes(from.cols - c));
      const auto row = [&](std::int64_t i) __attribute__((always_inline)) {
        return _mm512_castsi256_si512(_mm256_maskz_loadu_epi16(i < from.rows ? lanes : __mmask16{0},
                                                               from.data + i * from.stride + c));
      };
      __m512i v[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        v[i] = _mm512_permutex2var_epi16(row(r + 2 * i), order, row(r + 2 * i + 1));
      transpose_16x16(v);
      const std::int64_t cols = std::min<std::int64_t>(16, from.cols - c);
      for (std::int64_t i = 0; i < cols; ++i)
        _mm512_store_si512(out + (c + i) * out_stride + r, v[i]);
    }
}

void round(const float* sums, std::int64_t sums_stride, std::int64_t rows, std::int64_t cols,
           std::uint16_t* out, std::int64_t stride) {
  for (std::int64_t r = 0; r < rows; ++r, sums += sums_stride, out += stride)
    for (std::int64_t c = 0; c < cols; c += 16)
      _mm256_mask_storeu_epi16(out + c, static_cast<__mmask16>(first_lanes(cols - c)),
                               round_16(_mm512_load_ps(sums + c)));
}

void round_transposed(const float* sums, std::int64_t sums_stride, std::int64_t rows,
                      std::int64_t cols, std::uint16_t* out, std::int64_t stride) {
  for (std::int64_t r = 0; r < rows; r += 16)
    for (std::int64_t c = 0; c < cols; c += 16) {
      __m512i v[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        v[i] = c + i < cols ? _mm512_load_si512(sums + (c + i) * sums_stride + r)
                            : _mm512_setzero_si512();
      transpose_16x16(v);
      const auto lanes = static_cast<__mmask16>(first_lanes(cols - c));
      const std::int64_t count = std::min<std::int64_t>(16, rows - r);
      for (std::int64_t i = 0; i < count; ++i)
        _mm256_mask_storeu_epi16(out + (r + i) * stride + c, lanes,
                                 round_16(_mm512_castsi512_ps(v[i])));
    }
}

}  // namespace coppice::cpu::avx512
COPPICE_CPU_BF16_END

#endif
