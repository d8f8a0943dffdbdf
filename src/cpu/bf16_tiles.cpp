// Slivers: expanded, and multiplied whole.
#include "cpu/bf16_avx512.h"

#ifdef COPPICE_CPU_BF16_KERNELS

COPPICE_CPU_BF16_BEGIN
namespace coppice::cpu::avx512 {
namespace {

constexpr int kVectors = kSliverCols / 16;

using RowSums = __m512[kVectors];

// kChains: sums of every so many pairs are kept apart, where a few sums would wait for each other.
template <int kRows, int kChains>
HWY_INLINE void sum_tile(const Bf16Tile& tile, RowSums (&out)[kRows]) {
  __m512 sums[kChains][kRows][kVectors];
#pragma GCC unroll 4
  for (int c = 0; c < kChains; ++c)
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[c][r][v] = _mm512_setzero_ps();
  const std::int64_t row_step = tile.row_step, pair_step = tile.pair_step;
  const std::uint16_t* left = tile.left;
  const std::uint16_t* sliver = tile.sliver;
  const auto step = [&](int chain) __attribute__((always_inline)) {
    __m512i columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) columns[v] = _mm512_load_si512(sliver + v * 32);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512i factor = broadcast_pair(left + r * row_step);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sums[chain][r][v] = multiply_add(sums[chain][r][v], factor, columns[v]);
    }
    left += pair_step;
    sliver += 2 * kSliverCols;
  };
  std::int64_t p = 0;
  for (; p + kChains <= tile.pairs; p += kChains)
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) step(c);
  for (; p < tile.pairs; ++p) step(0);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      out[r][v] = sums[0][r][v];
#pragma GCC unroll 4
      for (int c = 1; c < kChains; ++c) out[r][v] = _mm512_add_ps(out[r][v], sums[c][r][v]);
    }
}

template <int kRows, int kChains>
void multiply_rows(const Bf16Tile& tile) {
  RowSums sums[kRows];
  sum_tile<kRows, kChains>(tile, sums);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* to = tile.sums + r * kSliverCols + v * 16;
      if (!tile.first) sums[r][v] = _mm512_add_ps(sums[r][v], _mm512_load_ps(to));
      _mm512_store_ps(to, sums[r][v]);
    }
}

template <int kRows, int kChains>
void multiply_kept_rows(const Bf16Tile& tile, const KeptRows& rows, std::uint16_t* out) {
  // Rows are far apart, and nobody read them before they are written.
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) __builtin_prefetch(out + r * rows.stride + rows.first, 1);
  RowSums sums[kRows];
  sum_tile<kRows, kChains>(tile, sums);
  alignas(64) static constexpr std::uint8_t kPlaces[kSliverCols] = {
      0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
      22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
      44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
  const __m512i places = _mm512_load_si512(kPlaces);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    std::uint16_t* to =
        out + r * rows.stride + (rows.firsts == nullptr ? rows.first : rows.firsts[r]);
    const int count = static_cast<int>(_mm_popcnt_u64(rows.bits[r]));
    const __m512i low = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(sums[r][1], sums[r][0]));
    const __m512i high = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(sums[r][3], sums[r][2]));
    const __m512i kept = _mm512_maskz_compress_epi8(rows.bits[r], places);
    const auto pick = [&](__m256i of) __attribute__((always_inline)) {
      return _mm512_permutex2var_epi16(low, _mm512_cvtepu8_epi16(of), high);
    };
    const __m512i picked = pick(_mm512_castsi512_si256(kept));
    if (count == 16) {  // of 75 % patterns
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(picked));
      continue;
    }
    _mm512_mask_storeu_epi16(to, first_lanes(count), picked);
    if (count > 32)
      _mm512_mask_storeu_epi16(to + 32, first_lanes(count - 32),
                               pick(_mm512_extracti64x4_epi64(kept, 1)));
  }
}

// The next values of a half row: 16, or 32 of which most lie in another cache line.
template <bool kSparse>
HWY_INLINE __m512i half_values(const std::uint16_t* from) {
  if constexpr (kSparse)
    return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  else
    return _mm512_loadu_si512(from);
}

// A row of a sliver: its values at `from`, which can be read 64 further.
template <bool kSparse>
struct SliverRow {
  __m512i half[2];
  HWY_INLINE SliverRow(const std::uint64_t& bits, const std::uint16_t* from) {
    std::uint32_t halves[2];
    std::memcpy(halves, &bits, sizeof(halves));
    half[0] = _mm512_maskz_expand_epi16(halves[0], half_values<kSparse>(from));
    half[1] = _mm512_maskz_expand_epi16(halves[1],
                                        half_values<kSparse>(from + _mm_popcnt_u32(halves[0])));
  }
};

HWY_INLINE const std::uint16_t* values_of(const KeptRows& rows, std::int64_t row) {
  return rows.values + row * rows.stride + (rows.firsts == nullptr ? rows.first : rows.firsts[row]);
}

template <bool kSparse>
HWY_INLINE void store_pair(const PairOrders& orders, const SliverRow<kSparse>& even,
                           const SliverRow<kSparse>& odd, std::uint16_t* sliver) {
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    _mm512_store_si512(sliver + h * 64,
                       _mm512_permutex2var_epi16(even.half[h], orders.lower, odd.half[h]));
    _mm512_store_si512(sliver + h * 64 + 32,
                       _mm512_permutex2var_epi16(even.half[h], orders.upper, odd.half[h]));
  }
}

// By value: what is stored could change a referenced one, for all that the compiler knows.
template <bool kSparse>
void expand_rows(const KeptRows rows, std::uint16_t* sliver) {
  const PairOrders orders;
  // Rows are far apart: the processor fetches none by itself. Those of the next block are wanted
  // when other slivers or all tokens had their turn.
  const std::int64_t ahead = rows.rows * rows.stride;
  std::int64_t r = 0;
  for (; r + 1 < rows.rows; r += 2, sliver += 2 * kSliverCols) {
    const std::uint16_t* even = values_of(rows, r);
    const std::uint16_t* odd = values_of(rows, r + 1);
    if (rows.end - odd < kSliverCols) [[unlikely]]
      break;
    _mm_prefetch(even + ahead, _MM_HINT_T1);
    _mm_prefetch(odd + ahead, _MM_HINT_T1);
    if (r % 8 == 0) _mm_prefetch(rows.bits + rows.rows + r, _MM_HINT_T1);
    store_pair<kSparse>(orders, {rows.bits[r], even}, {rows.bits[r + 1], odd}, sliver);
  }
  // The last values of all are copied, that nothing behind them is read.
  for (; r < rows.rows; r += 2, sliver += 2 * kSliverCols) {
    alignas(64) std::uint16_t copies[2][2 * kSliverCols] = {};
    std::uint64_t bits[2] = {};
    for (int i = 0; i < 2 && r + i < rows.rows; ++i) {
      bits[i] = rows.bits[r + i];
      std::copy_n(values_of(rows, r + i), _mm_popcnt_u64(bits[i]), copies[i]);
    }
    store_pair<kSparse>(orders, {bits[0], copies[0]}, {bits[1], copies[1]}, sliver);
  }
}

}  // namespace

void multiply(const Bf16Tile& tile) {
  switch (tile.rows) {
    case 1:
      return multiply_rows<1, 4>(tile);
    case 2:
      return multiply_rows<2, 2>(tile);
    case 3:
      return multiply_rows<3, 2>(tile);
    case 4:
      return multiply_rows<4, 1>(tile);
    case 5:
      return multiply_rows<5, 1>(tile);
    default:
      return multiply_rows<6, 1>(tile);
  }
}

void expand(const KeptRows& rows, std::uint16_t* sliver) {
  if (rows.sparse)
    expand_rows<true>(rows, sliver);
  else
    expand_rows<false>(rows, sliver);
}

void multiply_kept(const Bf16Tile& tile, const KeptRows& rows, std::uint16_t* out) {
  switch (tile.rows) {
    case 1:
      return multiply_kept_rows<1, 4>(tile, rows, out);
    case 2:
      return multiply_kept_rows<2, 2>(tile, rows, out);
    case 3:
      return multiply_kept_rows<3, 2>(tile, rows, out);
    case 4:
      return multiply_kept_rows<4, 1>(tile, rows, out);
    case 5:
      return multiply_kept_rows<5, 1>(tile, rows, out);
    default:
      return multiply_kept_rows<6, 1>(tile, rows, out);
  }
}

}  // namespace coppice::cpu::avx512
COPPICE_CPU_BF16_END

#endif
