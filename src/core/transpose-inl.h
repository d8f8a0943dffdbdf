// Transposing blocks of four rows by four columns of 32-bit lanes, in registers. For every target
// but HWY_SCALAR, whose vectors have one lane.
#if defined(COPPICE_CORE_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COPPICE_CORE_TRANSPOSE_INL_H_
#undef COPPICE_CORE_TRANSPOSE_INL_H_
#else
#define COPPICE_CORE_TRANSPOSE_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
// Rows a, b, c and e become the columns of what they were. D has four lanes of 32 bits.
template <class D, class V>
HWY_INLINE void transpose_4x4(D d, V& a, V& b, V& c, V& e) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::Repartition<std::int64_t, D> pairs;
  const auto ab_low = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
  const auto ab_high = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
  const auto ce_low = hn::BitCast(pairs, hn::InterleaveLower(d, c, e));
  const auto ce_high = hn::BitCast(pairs, hn::InterleaveUpper(d, c, e));
  a = hn::BitCast(d, hn::InterleaveLower(pairs, ab_low, ce_low));
  b = hn::BitCast(d, hn::InterleaveUpper(pairs, ab_low, ce_low));
  c = hn::BitCast(d, hn::InterleaveLower(pairs, ab_high, ce_high));
  e = hn::BitCast(d, hn::InterleaveUpper(pairs, ab_high, ce_high));
}
#endif

}  // namespace coppice::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // COPPICE_CORE_TRANSPOSE_INL_H_
