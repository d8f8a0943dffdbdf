// Kernels for few tokens and weights of f32.
#include "cpu/few_tokens.h"
#include "cpu/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/few_tokens_f32.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include "cpu/few_tokens-inl.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::cpu::HWY_NAMESPACE {
PanelKernel f32_kernel(const PanelKernelKey& key) { return panel_kernel<F32Value>(key); }
}  // namespace coppice::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace coppice::cpu {
namespace {
HWY_EXPORT(f32_kernel);
}  // namespace

PanelKernel f32_panel_kernel(const PanelKernelKey& key) {
  return HWY_DYNAMIC_DISPATCH(f32_kernel)(key);
}

}  // namespace coppice::cpu
#endif  // HWY_ONCE
