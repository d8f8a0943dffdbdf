#include "prune/gram_kernels.h"

// Vectors in arrays need a size that the compiler knows.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "prune/gram_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::prune {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Four columns of `a` times two vectors of `b`: eight sums, enough to hide the latency of a fused
// multiply-add, and few enough for 16 registers.
void products(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, std::int64_t depth,
              float* HWY_RESTRICT tile) {
  const hn::CappedTag<float, kGramPanel / 2> tag;
  constexpr int kRows = 4, kLanes = static_cast<int>(hn::MaxLanes(tag));
  for (int j = 0; j < kGramPanel; j += 2 * kLanes) {
    for (int i = 0; i < kGramPanel; i += kRows) {
      hn::Vec<decltype(tag)> low[kRows], high[kRows];
      for (int k = 0; k < kRows; ++k) low[k] = high[k] = hn::Zero(tag);
      for (std::int64_t d = 0; d < depth; ++d) {
        const auto b0 = hn::LoadU(tag, b + d * kGramPanel + j);
        const auto b1 = hn::LoadU(tag, b + d * kGramPanel + j + kLanes);
        for (int k = 0; k < kRows; ++k) {
          const auto factor = hn::Set(tag, a[d * kGramPanel + i + k]);
          low[k] = hn::MulAdd(factor, b0, low[k]);
          high[k] = hn::MulAdd(factor, b1, high[k]);
        }
      }
      for (int k = 0; k < kRows; ++k) {
        hn::StoreU(low[k], tag, tile + (i + k) * kGramPanel + j);
        hn::StoreU(high[k], tag, tile + (i + k) * kGramPanel + j + kLanes);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace coppice::prune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace coppice::prune {
namespace {
HWY_EXPORT(products);
}  // namespace

void multiply_panels(const float* a, const float* b, std::int64_t depth, float* tile) {
  HWY_DYNAMIC_DISPATCH(products)(a, b, depth, tile);
}

}  // namespace coppice::prune
#endif  // HWY_ONCE
