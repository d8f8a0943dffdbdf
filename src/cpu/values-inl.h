// Stored values to floats. For every target.
#if defined(COPPICE_CPU_VALUES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COPPICE_CPU_VALUES_INL_H_
#undef COPPICE_CPU_VALUES_INL_H_
#else
#define COPPICE_CPU_VALUES_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// f32. Value types name the element in memory (`Bits`) and widen vectors of it.
struct F32Value {
  using Bits = float;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const float* from) {
    return hn::LoadU(d, from);
  }
};

struct Bf16Value {
  using Bits = std::uint16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const std::uint16_t* from) {
    const hn::RebindToUnsigned<D> du;
    const hn::Rebind<std::uint16_t, D> d16;
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(d16, from))));
  }
};

struct F16Value {
  using Bits = std::uint16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const std::uint16_t* from) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_NEON
    const hn::Rebind<hwy::float16_t, D> d16;
    return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
#else
    // No such instruction: shift the fields into place and repair the exponent by a multiplication,
    // which is exact and takes subnormals along. Infinities and NaNs get the largest exponent.
    const hn::RebindToUnsigned<D> du;
    const hn::Rebind<std::uint16_t, D> d16;
    const auto bits = hn::PromoteTo(du, hn::LoadU(d16, from));
    const auto magnitude = hn::And(bits, hn::Set(du, 0x7fffu));
    const auto sign = hn::ShiftLeft<16>(hn::AndNot(hn::Set(du, 0x7fffu), bits));
    const auto scaled = hn::Mul(hn::BitCast(d, hn::ShiftLeft<13>(magnitude)),
                                hn::BitCast(d, hn::Set(du, 0x77800000u)));  // 2^112
    const auto special = hn::Gt(hn::BitCast(hn::RebindToSigned<D>(), magnitude),
                                hn::Set(hn::RebindToSigned<D>(), 0x7bff));
    const auto top = hn::IfThenElseZero(hn::RebindMask(du, special), hn::Set(du, 0x7f800000u));
    return hn::BitCast(d, hn::Or(hn::Or(hn::BitCast(du, scaled), top), sign));
#endif
  }
};

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // COPPICE_CPU_VALUES_INL_H_
