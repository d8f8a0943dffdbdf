#include "prune/permutation/kernels.h"

// Vectors in arrays need a size that the compiler knows.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "prune/permutation/kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::prune {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, kLanes>;
using Vec = hn::Vec<Floats>;
constexpr int kWidth = static_cast<int>(hn::MaxLanes(Floats()));
constexpr int kVectors = kLanes / kWidth;

// kLanes partial sums to one, halves onto each other: the same order in every instruction set.
HWY_INLINE float fold(const Vec* sums) {
  const Floats tag;
  HWY_ALIGN float lanes[kLanes];
  for (int v = 0; v < kVectors; ++v) hn::Store(sums[v], tag, lanes + v * kWidth);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

template <int kColumns, int kThresholds>
HWY_INLINE void sum_tile(const float* const* x, const float* const* t, std::ptrdiff_t lanes,
                         std::ptrdiff_t out_stride, float* out) {
  const Floats tag;
  const Vec zero = hn::Zero(tag);
  Vec sums[kColumns][kThresholds][kVectors];
  for (int i = 0; i < kColumns; ++i)
    for (int j = 0; j < kThresholds; ++j)
      for (int v = 0; v < kVectors; ++v) sums[i][j][v] = zero;
  for (std::ptrdiff_t lane = 0; lane < lanes; lane += kLanes)
    for (int v = 0; v < kVectors; ++v)
      for (int i = 0; i < kColumns; ++i) {
        const Vec value = hn::LoadU(tag, x[i] + lane + v * kWidth);
        for (int j = 0; j < kThresholds; ++j) {
          const Vec threshold = hn::LoadU(tag, t[j] + lane + v * kWidth);
          sums[i][j][v] = hn::Add(sums[i][j][v], hn::Max(hn::Sub(value, threshold), zero));
        }
      }
  for (int i = 0; i < kColumns; ++i)
    for (int j = 0; j < kThresholds; ++j) out[i * out_stride + j] = fold(sums[i][j]);
}

void sums_above(const float* const* x, int columns, const float* const* t, int thresholds,
                std::ptrdiff_t lanes, float* out) {
  int i = 0;
  for (; i + 2 <= columns; i += 2) {
    float* row = out + std::ptrdiff_t{i} * thresholds;
    int j = 0;
    for (; j + 2 <= thresholds; j += 2) sum_tile<2, 2>(x + i, t + j, lanes, thresholds, row + j);
    if (j < thresholds) sum_tile<2, 1>(x + i, t + j, lanes, thresholds, row + j);
  }
  if (i == columns) return;
  float* row = out + std::ptrdiff_t{i} * thresholds;
  for (int j = 0; j < thresholds; ++j) sum_tile<1, 1>(x + i, t + j, lanes, thresholds, row + j);
}

void push(const float* values, int depth, std::ptrdiff_t lanes, float* list) {
  const Floats tag;
  for (std::ptrdiff_t lane = 0; lane < lanes; lane += kWidth) {
    Vec value = hn::LoadU(tag, values + lane);
    for (int i = 0; i < depth; ++i) {
      float* place = list + i * lanes + lane;
      const Vec old = hn::LoadU(tag, place);
      hn::StoreU(hn::Max(old, value), tag, place);
      value = hn::Min(old, value);
    }
  }
}

const PermutationKernels* kernels() {
  static constexpr PermutationKernels table{sums_above, push};
  return &table;
}

}  // namespace HWY_NAMESPACE
}  // namespace coppice::prune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace coppice::prune {

HWY_EXPORT(kernels);
const PermutationKernels& permutation_kernels() { return *HWY_DYNAMIC_DISPATCH(kernels)(); }

}  // namespace coppice::prune
#endif
