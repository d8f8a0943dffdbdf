// What the files of bf16 kernels share. Intrinsics, for the Highway of the distributions (1.0) has
// no target with these instructions.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define COPPICE_CPU_BF16_KERNELS 1

// GCC 12 warns of the undefined vectors in its own header, where they are inlined.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/bf16_kernels.h"
#include "hwy/highway.h"

#define COPPICE_CPU_BF16_BEGIN \
  HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi2,bmi,bmi2,popcnt")
#define COPPICE_CPU_BF16_END HWY_POP_ATTRIBUTES

COPPICE_CPU_BF16_BEGIN
namespace coppice::cpu::avx512 {

void join(const JoinTask& task);
void multiply_looked_up(const LookupTile& tile);
void multiply(const Bf16Tile& tile);
void multiply_kept(const Bf16Tile& tile, const KeptRows& rows, std::uint16_t* out);
void multiply_listed(const ListedTile& tile);
void dot(const DotRows& rows);
void expand(const KeptRows& rows, std::uint16_t* sliver);
void pair(const std::uint16_t* even, const std::uint16_t* odd, std::int64_t count,
          std::uint16_t* out);
void transpose_pairs(const Bf16Block& from, std::uint16_t* out, std::int64_t out_stride);
void transpose(const Bf16Block& from, std::uint16_t* out, std::int64_t out_stride);
void round(const float* sums, std::int64_t sums_stride, std::int64_t rows, std::int64_t cols,
           std::uint16_t* out, std::int64_t stride);
void round_transposed(const float* sums, std::int64_t sums_stride, std::int64_t rows,
                      std::int64_t cols, std::uint16_t* out, std::int64_t stride);
void round_dots(const float* sums, const KeptRows& rows, std::uint16_t* out);

HWY_INLINE __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

HWY_INLINE __m512i broadcast_pair(const std::uint16_t* pair) {
  std::int32_t both;
  std::memcpy(&both, pair, sizeof(both));
  return _mm512_set1_epi32(both);
}

HWY_INLINE __mmask32 first_lanes(std::int64_t count) {
  return _bzhi_u32(~0u, static_cast<unsigned>(std::clamp<std::int64_t>(count, 0, 32)));
}

// The bits of 16 floats, rounded.
HWY_INLINE __m256i round_16(__m512 sums) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(sums));
}

HWY_INLINE __m512i round_32(const float* sums) {
  return reinterpret_cast<__m512i>(
      _mm512_cvtne2ps_pbh(_mm512_loadu_ps(sums + 16), _mm512_loadu_ps(sums)));
}

// Orders by which _mm512_permutex2var_epi16 pairs the lower or the upper halves of two vectors.
struct PairOrders {
  __m512i lower, upper;
  HWY_INLINE PairOrders() {
    const __m512i count = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    // In each 32 bits: i, and 32 + i above it.
    lower = _mm512_or_si512(count,
                            _mm512_slli_epi32(_mm512_add_epi32(count, _mm512_set1_epi32(32)), 16));
    upper = _mm512_add_epi16(lower, _mm512_set1_epi16(16));
  }
};

// Rows of 16 32-bit lanes become columns.
HWY_INLINE void transpose_16x16(__m512i (&v)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // v[4 i + j] holds column 4 l + j of rows 4 i ... 4 i + 3 in its quarter l.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    t[j] = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xdd);
    t[8 + j] = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xdd);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    v[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
    v[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
    v[4 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88);
    v[12 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xdd);
  }
}

}  // namespace coppice::cpu::avx512
COPPICE_CPU_BF16_END

#endif
