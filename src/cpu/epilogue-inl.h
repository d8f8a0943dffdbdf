// What happens to sums before they are stored: scale, bias, activation. For every target.
//
// Errors, relative, against double precision, for results above 1e-30 (a test says so): 1e-6 for
// silu, and for both gelu where the input is above -3. Further down the rounding of the exponent
// adds 1.7e-7 * |exponent| (to gelu only where there is no fused multiply-add). NaN stays NaN.
#if defined(COPPICE_CPU_EPILOGUE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COPPICE_CPU_EPILOGUE_INL_H_
#undef COPPICE_CPU_EPILOGUE_INL_H_
#else
#define COPPICE_CPU_EPILOGUE_INL_H_
#endif

#include "coppice/linear.h"
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// v * logistic(z). The exponent is never positive, so nothing overflows.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V times_logistic(D d, V v, V z) {
  const V one = hn::Set(d, 1.0f);
  const V e = hn::Exp(d, hn::Neg(hn::Abs(z)));  // 0 for NaN: v carries it on
  const V numerator = hn::IfThenElse(hn::Lt(z, hn::Zero(d)), hn::Mul(v, e), v);
  return hn::Div(numerator, hn::Add(one, e));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_tanh(D d, V v) {
  // 0.5 v (1 + tanh(z / 2)) = v logistic(z), z = 2 sqrt(2 / pi) (v + 0.044715 v^3)
  const V square = hn::Mul(v, v);
  const V slope =
      hn::MulAdd(square, hn::Set(d, 0.0713548162726009f), hn::Set(d, 1.5957691216057308f));
  return times_logistic(d, v, hn::Mul(v, slope));
}

// v Phi(v), Phi the normal distribution function. Phi(-t) = exp(-t^2/2) r(t) for t >= 0, where
// r / u is a polynomial in u = 1 / (1 + 0.32 t) to 5e-8 (interpolated at Chebyshev nodes of u).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_erf(D d, V v) {
  const V one = hn::Set(d, 1.0f), minus_half = hn::Set(d, -0.5f);
  const V t = hn::Abs(v);
  const V u = hn::Div(one, hn::MulAdd(t, hn::Set(d, 0.32f), one));
  V r = hn::Set(d, -0.0216231324f);
  r = hn::MulAdd(r, u, hn::Set(d, 0.0979352154f));
  r = hn::MulAdd(r, u, hn::Set(d, -0.151607695f));
  r = hn::MulAdd(r, u, hn::Set(d, 0.0704682615f));
  r = hn::MulAdd(r, u, hn::Set(d, -0.0125339994f));
  r = hn::MulAdd(r, u, hn::Set(d, 0.0597993263f));
  r = hn::MulAdd(r, u, hn::Set(d, 0.0875935304f));
  r = hn::MulAdd(r, u, hn::Set(d, 0.114647028f));
  r = hn::MulAdd(r, u, hn::Set(d, 0.12765991f));
  r = hn::MulAdd(r, u, hn::Set(d, 0.127661538f));
  // exp of the square: its rounding error, kept as `low`, would be amplified by the exponent. It is
  // dropped where the square overflows (inf - inf).
  const V square = hn::Min(hn::Mul(t, t), hn::Set(d, 1e4f));
  const V low = hn::IfThenElseZero(hn::Lt(t, hn::Set(d, 100.0f)), hn::MulSub(t, t, square));
  const V e = hn::Exp(d, hn::Mul(square, minus_half));
  const V tail = hn::Mul(hn::Mul(r, u), hn::MulAdd(hn::Mul(low, minus_half), e, e));
  return hn::Mul(v, hn::IfThenElse(hn::Lt(v, hn::Zero(d)), tail, hn::Sub(one, tail)));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V activate(D d, V v, Activation activation) {
  switch (activation) {
    case Activation::none:
      return v;
    case Activation::relu:
      return hn::IfThenElse(hn::Lt(v, hn::Zero(d)), hn::Zero(d), v);
    case Activation::gelu:
      return gelu_erf(d, v);
    case Activation::gelu_tanh:
      return gelu_tanh(d, v);
    case Activation::silu:
      return times_logistic(d, v, v);
  }
  return v;
}

/// Whether sums are stored as they are.
HWY_INLINE bool is_identity(const Epilogue& epilogue) {
  return epilogue.alpha == 1 && epilogue.bias.empty() && epilogue.activation == Activation::none;
}

/// act(alpha * sum + bias), lane by lane.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V finish(D d, V sum, V alpha, V bias, Activation activation) {
  return activate(d, hn::MulAdd(sum, alpha, bias), activation);
}

}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // COPPICE_CPU_EPILOGUE_INL_H_
