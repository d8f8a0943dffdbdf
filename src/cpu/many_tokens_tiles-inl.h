// Register tiles of the product for many tokens. For every target.
//
// A tile is kRows rows times kVectors vectors of tokens, its sums in registers over a whole block.
// Sizes: at least 8 independent sums (2 multiply-adds a clock, latency 4), and as many as the
// registers hold, because every row of weights that is loaded serves kVectors multiply-adds.
//
// What bounds them (Zen 5: 2 multiply-adds and 2 loads of 512 bits a clock):
//   shared  4 x 4: 16 multiply-adds need 4 rows of x, 4 broadcasts, 1 offset: bound by the
//           multiply-adds.
//   lanes   every multiply-add needs its own row of x, and every kept weight one more load for
//           4 of them: bound by the loads, 1.6 multiply-adds a clock at best. With value and offset
//           in one 64-bit word 1.27 are reached in L1, with two loads 1.14.
#if defined(COPPICE_CPU_MANY_TOKENS_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COPPICE_CPU_MANY_TOKENS_TILES_INL_H_
#undef COPPICE_CPU_MANY_TOKENS_TILES_INL_H_
#else
#define COPPICE_CPU_MANY_TOKENS_TILES_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "cpu/many_tokens_kernels.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using TokenTag = hn::CappedTag<float, kStripTokens>;
using TokenVec = hn::Vec<TokenTag>;
constexpr int kTokenLanes = static_cast<int>(hn::MaxLanes(TokenTag()));

HWY_INLINE const float* at_bytes(const float* x, std::uint32_t offset) {
  return reinterpret_cast<const float*>(reinterpret_cast<const std::byte*>(x) + offset);
}

// The sums of a tile, in registers.
template <int kVectors, int kRows>
struct TileSums {
  TokenVec v[kRows][kVectors];

  // Spelled out: an implicit constructor is compiled without the target's attributes.
  HWY_INLINE TileSums() {}

  HWY_INLINE void load(const float* from, int pitch, bool first) {
    const TokenTag d;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i)
        v[r][i] = first ? hn::Zero(d) : hn::Load(d, from + r * pitch + i * kTokenLanes);
    }
  }

  HWY_INLINE void store(float* to, int pitch) const {
    const TokenTag d;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) hn::Store(v[r][i], d, to + r * pitch + i * kTokenLanes);
    }
  }
};

// @param kFetch  whether this tile fetches the values that are multiplied next
template <int kVectors, int kRows, bool kFetch>
HWY_INLINE void shared_tile(const TileTask& task, int row, int token) {
  const TokenTag d;
  TileSums<kVectors, kRows> sums;
  float* out = task.sums + row * task.pitch + token;
  sums.load(out, task.pitch, task.first);
  const float* HWY_RESTRICT x = task.x + token;
  const float* HWY_RESTRICT values = task.values + row;
  const std::uint32_t* HWY_RESTRICT offsets = task.offsets;
  for (int s = 0; s < task.slots; ++s, values += kPanelRows) {
    if constexpr (kFetch) hwy::Prefetch(reinterpret_cast<const std::byte*>(values) + task.next);
    const float* x_row = at_bytes(x, offsets[s]);
    TokenVec x_vec[kVectors];
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) x_vec[i] = hn::Load(d, x_row + i * kTokenLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const TokenVec value = hn::Set(d, values[r]);
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) sums.v[r][i] = hn::MulAdd(value, x_vec[i], sums.v[r][i]);
    }
  }
  sums.store(out, task.pitch);
}

template <int kVectors, int kRows>
HWY_INLINE void lane_tile(const TileTask& task, int row, int token) {
  const TokenTag d;
  const hn::RebindToUnsigned<TokenTag> du;
  TileSums<kVectors, kRows> sums;
  float* out = task.sums + row * task.pitch + token;
  sums.load(out, task.pitch, task.first);
  const float* HWY_RESTRICT x = task.x + token;
  const std::int64_t slab = std::int64_t{task.slots} * kSlabRows;
  const DecodedWeight* HWY_RESTRICT decoded =
      task.decoded + row / kSlabRows * slab + row % kSlabRows;
  for (int s = 0; s < task.slots; ++s, decoded += kSlabRows) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const DecodedWeight weight = decoded[r / kSlabRows * slab + r % kSlabRows];
      const float* x_row = at_bytes(x, static_cast<std::uint32_t>(weight));
      const TokenVec value = hn::BitCast(d, hn::Set(du, static_cast<std::uint32_t>(weight >> 32)));
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i)
        sums.v[r][i] = hn::MulAdd(value, hn::Load(d, x_row + i * kTokenLanes), sums.v[r][i]);
    }
  }
  sums.store(out, task.pitch);
}

// All rows of a panel by kVectors vectors of tokens.
template <int kVectors, int kRows>
HWY_INLINE void shared_rows(const TileTask& task, int token) {
  if (task.next != 0 && token == 0)
    shared_tile<kVectors, kRows, true>(task, 0, token);
  else
    shared_tile<kVectors, kRows, false>(task, 0, token);
  for (int row = kRows; row < task.rows; row += kRows)
    shared_tile<kVectors, kRows, false>(task, row, token);
}

template <int kVectors, int kRows>
HWY_INLINE void lane_rows(const TileTask& task, int token) {
  for (int row = 0; row < task.rows; row += kRows) {
    lane_tile<kVectors, kRows>(task, row, token);
  }
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL

// 32 registers of a strip each: up to four strips side by side.
void multiply_shared(const TileTask& task) {
  switch (task.strips) {
    case 1:
      return shared_rows<1, 16>(task, 0);
    case 2:
      return shared_rows<2, 8>(task, 0);
    case 3:
      return shared_rows<3, 8>(task, 0);
    default:
      return shared_rows<4, 4>(task, 0);
  }
}

void multiply_lanes(const TileTask& task) {
  switch (task.strips) {
    case 1:
      return lane_rows<1, 16>(task, 0);
    case 2:
      return lane_rows<2, 8>(task, 0);
    case 3:
      return lane_rows<3, 4>(task, 0);
    default:
      return lane_rows<4, 4>(task, 0);
  }
}

#else

// One strip after the other. Rows: what 32 registers (NEON) or 16 hold beside a row of x.
constexpr int kStripVectors = kStripTokens / kTokenLanes;
constexpr int kStripRows = HWY_TARGET == HWY_NEON || kStripVectors == 2 ? 4 : 2;

void multiply_shared(const TileTask& task) {
  for (int strip = 0; strip < task.strips; ++strip)
    shared_rows<kStripVectors, kStripRows>(task, strip * kStripTokens);
}

void multiply_lanes(const TileTask& task) {
  for (int strip = 0; strip < task.strips; ++strip)
    lane_rows<kStripVectors, kStripRows>(task, strip * kStripTokens);
}

#endif

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // COPPICE_CPU_MANY_TOKENS_TILES_INL_H_
