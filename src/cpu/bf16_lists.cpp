// Products that leave out what is pruned: sums in registers, as long as a list of what is kept.
// Both are bound by loads, one for each instruction that multiplies (Zen 5: 1.3 to 1.47 a clock out
// of L1, where a dense product multiplies 1.63 times).
#include "cpu/bf16_avx512.h"

#ifdef COPPICE_CPU_BF16_KERNELS

COPPICE_CPU_BF16_BEGIN
namespace coppice::cpu::avx512 {
namespace {

// A column by kVectors vectors of 16 tokens; kChains as in bf16_tiles.cpp.
template <int kVectors, int kChains>
HWY_INLINE void multiply_column(const ListedTile& tile, int col) {
  constexpr int kTokens = kVectors * 16;
  __m512 sums[kChains][kVectors];
#pragma GCC unroll 4
  for (int c = 0; c < kChains; ++c)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[c][v] = _mm512_setzero_ps();
  std::uint64_t left = tile.pairs_kept[col];
  const std::uint16_t* values = tile.sliver + 2 * col;
  const std::uint16_t* panel = tile.panel;
  const auto step = [&](int chain) __attribute__((always_inline)) {
    const std::uint64_t pair = _tzcnt_u64(left);
    left = _blsr_u64(left);
    const __m512i factor = broadcast_pair(values + pair * 2 * kSliverCols);
    const std::uint16_t* tokens = panel + pair * 2 * kTokens;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sums[chain][v] = multiply_add(sums[chain][v], factor, _mm512_load_si512(tokens + v * 32));
  };
  int count = static_cast<int>(_mm_popcnt_u64(left));
  for (; count >= kChains; count -= kChains)
#pragma GCC unroll 8
    for (int c = 0; c < kChains; ++c) step(c);
  for (; count > 0; --count) step(0);
  float* to = tile.sums + col * kTokens;
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 4
    for (int c = 1; c < kChains; ++c) sums[0][v] = _mm512_add_ps(sums[0][v], sums[c][v]);
    if (!tile.first) sums[0][v] = _mm512_add_ps(sums[0][v], _mm512_load_ps(to + v * 16));
    _mm512_store_ps(to + v * 16, sums[0][v]);
  }
}

template <int kVectors, int kChains>
void multiply_columns(const ListedTile& tile) {
  for (int col = 0; col < tile.cols; ++col) multiply_column<kVectors, kChains>(tile, col);
}

// Sums of the lanes of 8 vectors.
HWY_INLINE __m256 sum_lanes(const __m512 (&v)[8]) {
  __m512 pairs[4], fours[2];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                             _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
    fours[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  const __m512 halves = _mm512_add_ps(_mm512_shuffle_f32x4(fours[0], fours[1], 0x88),
                                      _mm512_shuffle_f32x4(fours[0], fours[1], 0xdd));
  return _mm512_castps512_ps256(_mm512_add_ps(_mm512_shuffle_f32x4(halves, halves, 0x08),
                                              _mm512_shuffle_f32x4(halves, halves, 0x0d)));
}

// The next kCount weights of a row, which share its kVectors vectors of dY. Where fewer are left,
// the others are of column 64, which there is, and mean nothing.
template <int kCount, int kVectors>
HWY_INLINE void dot_columns(const DotRows& rows, const std::uint16_t* dy, std::uint64_t left,
                            float* out) {
  const std::uint16_t* x[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) {
    x[i] = rows.x + _tzcnt_u64(left) * (kVectors * 32);
    left = _blsr_u64(left);
  }
  __m512 sums[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) sums[i] = _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const __m512i factors = _mm512_load_si512(dy + v * 32);
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i)
      sums[i] = multiply_add(sums[i], factors, _mm512_load_si512(x[i] + v * 32));
  }
  const __m256 total = sum_lanes(sums);
  _mm256_store_ps(out, rows.first ? total : _mm256_add_ps(total, _mm256_load_ps(out)));
}

template <int kVectors>
void dot_rows(const DotRows rows) {
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    const std::uint16_t* dy = rows.dy + r * (kVectors * 32);
    float* out = rows.sums + r * kSliverCols;
    std::uint64_t left = rows.bits[r];
    for (int count = static_cast<int>(_mm_popcnt_u64(left)); count > 0; count -= 8, out += 8) {
      if (count <= 4) {
        dot_columns<4, kVectors>(rows, dy, left, out);
        break;
      }
      dot_columns<8, kVectors>(rows, dy, left, out);
      left = _pdep_u64(~std::uint64_t{0xff}, left);  // less its lowest 8
    }
  }
}

}  // namespace

void multiply_listed(const ListedTile& tile) {
  switch (tile.tokens / 16) {
    case 1:
      return multiply_columns<1, 4>(tile);
    case 2:
      return multiply_columns<2, 4>(tile);
    case 3:
      return multiply_columns<3, 3>(tile);
    case 4:
      return multiply_columns<4, 2>(tile);
    case 5:
      return multiply_columns<5, 2>(tile);
    case 6:
      return multiply_columns<6, 2>(tile);
    case 7:
      return multiply_columns<7, 2>(tile);
    default:
      return multiply_columns<8, 1>(tile);
  }
}

void dot(const DotRows& rows) {
  switch (rows.tokens / 32) {
    case 1:
      return dot_rows<1>(rows);
    case 2:
      return dot_rows<2>(rows);
    case 3:
      return dot_rows<3>(rows);
    case 4:
      return dot_rows<4>(rows);
    case 5:
      return dot_rows<5>(rows);
    case 6:
      return dot_rows<6>(rows);
    case 7:
      return dot_rows<7>(rows);
    default:
      return dot_rows<8>(rows);
  }
}

void round_dots(const float* sums, const KeptRows& rows, std::uint16_t* out) {
  for (std::int64_t r = 0; r < rows.rows; ++r, sums += kSliverCols, out += rows.stride) {
    std::uint16_t* to = out + (rows.firsts == nullptr ? rows.first : rows.firsts[r]);
    const int count = static_cast<int>(_mm_popcnt_u64(rows.bits[r]));
    if (count == 16) {  // of 75 % patterns
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), round_16(_mm512_load_ps(sums)));
      continue;
    }
    for (int i = 0; i < count; i += 16)
      _mm256_mask_storeu_epi16(to + i, static_cast<__mmask16>(first_lanes(count - i)),
                               round_16(_mm512_load_ps(sums + i)));
  }
}

}  // namespace coppice::cpu::avx512
COPPICE_CPU_BF16_END

#endif
