// Windows of x and look-ups in them: the one file of the CPU engine with raw intrinsics, because
// Highway 1.0.3 has no look-ups across two registers and checks indices whose high bits it could
// ignore. For every target.
//
// An index vector holds an index of log2(window) bits in the low end of every lane and anything
// above it (the indices of later slots). Windows of 4 and 8 are repeated to fill a register, so
// that the surplus bits that the instruction reads select copies of the same value.
#if defined(COPPICE_CPU_LOOKUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COPPICE_CPU_LOOKUP_INL_H_
#undef COPPICE_CPU_LOOKUP_INL_H_
#else
#define COPPICE_CPU_LOOKUP_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using LaneTag = hn::CappedTag<float, 16>;  // a panel's 16 lanes, or a part of them
using IndexTag = hn::RebindToUnsigned<LaneTag>;
using Lanes = hn::Vec<LaneTag>;
using Indices = hn::Vec<IndexTag>;

/// `kWindow` floats of x, for look-ups. Large ones stay in memory.
template <int kWindow>
struct Window {
  const float* x;
  explicit HWY_INLINE Window(const float* from) : x(from) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    const auto in_window = hn::And(index, hn::Set(IndexTag(), kWindow - 1u));
    return hn::GatherIndex(LaneTag(), x, hn::BitCast(hn::RebindToSigned<LaneTag>(), in_window));
  }
};

#if HWY_TARGET == HWY_AVX3

template <>
struct Window<4> {
  __m512 table;
  explicit HWY_INLINE Window(const float* x) : table(_mm512_broadcast_f32x4(_mm_loadu_ps(x))) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    return Lanes{_mm512_permutexvar_ps(index.raw, table)};
  }
};

template <>
struct Window<8> {
  __m512 table;
  explicit HWY_INLINE Window(const float* x) : table(_mm512_broadcast_f32x8(_mm256_loadu_ps(x))) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    return Lanes{_mm512_permutexvar_ps(index.raw, table)};
  }
};

template <>
struct Window<16> {
  __m512 table;
  explicit HWY_INLINE Window(const float* x) : table(_mm512_loadu_ps(x)) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    return Lanes{_mm512_permutexvar_ps(index.raw, table)};
  }
};

template <>
struct Window<32> {
  __m512 low, high;
  explicit HWY_INLINE Window(const float* x)
      : low(_mm512_loadu_ps(x)), high(_mm512_loadu_ps(x + 16)) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    return Lanes{_mm512_permutex2var_ps(low, index.raw, high)};
  }
};

// Two windows of half the size, told apart by the index's top bit.
template <int kWindow>
struct SplitWindow {
  Window<kWindow / 2> low, high;
  explicit HWY_INLINE SplitWindow(const float* x) : low(x), high(x + kWindow / 2) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    const __mmask16 upper = _mm512_test_epi32_mask(index.raw, _mm512_set1_epi32(kWindow / 2));
    return Lanes{_mm512_mask_blend_ps(upper, low.lookup(index).raw, high.lookup(index).raw)};
  }
};

template <>
struct Window<64> : SplitWindow<64> {
  explicit HWY_INLINE Window(const float* x) : SplitWindow(x) {}
};

template <>
struct Window<128> : SplitWindow<128> {
  explicit HWY_INLINE Window(const float* x) : SplitWindow(x) {}
};

template <>
struct Window<256> : SplitWindow<256> {
  explicit HWY_INLINE Window(const float* x) : SplitWindow(x) {}
};

#elif HWY_TARGET == HWY_AVX2

template <>
struct Window<4> {
  __m256 table;
  explicit HWY_INLINE Window(const float* x)
      : table(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(x))) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    return Lanes{_mm256_permutevar_ps(table, index.raw)};
  }
};

template <>
struct Window<8> {
  __m256 table;
  explicit HWY_INLINE Window(const float* x) : table(_mm256_loadu_ps(x)) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    return Lanes{_mm256_permutevar8x32_ps(table, index.raw)};
  }
};

template <>
struct Window<16> {
  Window<8> low, high;
  explicit HWY_INLINE Window(const float* x) : low(x), high(x + 8) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index.raw, 28));  // bit 3 to sign
    return Lanes{_mm256_blendv_ps(low.lookup(index).raw, high.lookup(index).raw, upper)};
  }
};

template <>
struct Window<32> {
  Window<16> low, high;
  explicit HWY_INLINE Window(const float* x) : low(x), high(x + 16) {}
  HWY_INLINE Lanes lookup(Indices index) const {
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index.raw, 27));  // bit 4 to sign
    return Lanes{_mm256_blendv_ps(low.lookup(index).raw, high.lookup(index).raw, upper)};
  }
};

#endif  // HWY_TARGET

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // COPPICE_CPU_LOOKUP_INL_H_
