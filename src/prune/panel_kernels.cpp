#include "prune/panel_kernels.h"

#include <algorithm>
#include <bit>
#include <cstring>

// Vectors in arrays need a size that the compiler knows.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "prune/panel_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include "core/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace coppice::prune {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Keys = hn::CappedTag<std::int32_t, kPanelRows>;
using Floats = hn::Rebind<float, Keys>;
using Doubles = hn::CappedTag<double, kPanelRows>;
using HalfFloats = hn::Rebind<float, Doubles>;
using Vec = hn::Vec<Keys>;

constexpr std::int32_t kMagnitudeBits = 0x7fffffff;

#if HWY_TARGET != HWY_SCALAR
using Keys4 = hn::FixedTag<std::int32_t, 4>;
using Vec4 = hn::Vec<Keys4>;

HWY_INLINE Vec4 load_keys(const float* scores) {
  const Keys4 tag;
  const hn::Rebind<float, Keys4> floats;
  return hn::And(hn::BitCast(tag, hn::LoadU(floats, scores)), hn::Set(tag, kMagnitudeBits));
}

// Four rows of four scores to four columns of four keys. @returns their maximum, lane by lane
HWY_INLINE Vec4 transpose4x4(const float* rows, std::ptrdiff_t stride, int pitch,
                             std::int32_t* keys) {
  const Keys4 tag;
  Vec4 a = load_keys(rows), b = load_keys(rows + stride);
  Vec4 c = load_keys(rows + 2 * stride), d = load_keys(rows + 3 * stride);
  coppice::HWY_NAMESPACE::transpose_4x4(tag, a, b, c, d);
  hn::Store(a, tag, keys);
  hn::Store(b, tag, keys + pitch);
  hn::Store(c, tag, keys + 2 * pitch);
  hn::Store(d, tag, keys + 3 * pitch);
  return hn::Max(hn::Max(a, b), hn::Max(c, d));
}
#endif

std::int32_t transpose(const float* rows, std::ptrdiff_t stride, int cols, int pitch,
                       std::int32_t* keys) {
  std::int32_t largest = 0;
  int col = 0;
#if HWY_TARGET != HWY_SCALAR
  const Keys4 tag;
  Vec4 top = hn::Zero(tag);
  for (; col + 4 <= cols; col += 4) {
    for (int row = 0; row < kPanelRows; row += 4)
      top = hn::Max(top, transpose4x4(rows + row * stride + col, stride, pitch,
                                      keys + std::ptrdiff_t{col} * pitch + row));
  }
  largest = hn::GetLane(hn::MaxOfLanes(tag, top));
#endif
  for (; col < cols; ++col) {
    for (int row = 0; row < kPanelRows; ++row) {
      const auto key = std::bit_cast<std::int32_t>(rows[row * stride + col]) & kMagnitudeBits;
      keys[std::ptrdiff_t{col} * pitch + row] = key;
      largest = std::max(largest, key);
    }
  }
  return largest;
}

// Adds kPanelRows keys, as scores, to as many sums.
HWY_INLINE void add_lanes(const std::int32_t* keys, double* sums) {
  const Doubles doubles;
  const HalfFloats floats;
  const hn::Rebind<std::int32_t, Doubles> ints;
  for (int lane = 0; lane < kPanelRows; lane += static_cast<int>(hn::Lanes(doubles))) {
    const auto scores = hn::BitCast(floats, hn::LoadU(ints, keys + lane));
    hn::StoreU(hn::Add(hn::LoadU(doubles, sums + lane), hn::PromoteTo(doubles, scores)), doubles,
               sums + lane);
  }
}

void add_scores(const std::int32_t* keys, int cols, int pitch, double* sums) {
  HWY_ALIGN double local[kPanelRows];
  std::copy_n(sums, kPanelRows, local);
  for (int col = 0; col < cols; ++col) add_lanes(keys + std::ptrdiff_t{col} * pitch, local);
  std::copy_n(local, kPanelRows, sums);
}

// The kKept-th largest of each lane: the last of a descending list, into which columns sink.
template <int kKept>
Vec threshold_by_list(const std::int32_t* const* columns, int count, int lane) {
  const Keys tag;
  Vec list[kKept];
  for (int i = 0; i < kKept; ++i) list[i] = hn::Zero(tag);
  for (int j = 0; j < count; ++j) {
    Vec key = hn::Load(tag, columns[j] + lane);
    for (int i = 0; i < kKept; ++i) {
      const Vec larger = hn::Max(list[i], key);
      key = hn::Min(list[i], key);
      list[i] = larger;
    }
  }
  return list[kKept - 1];
}

// The same for any number, bit by bit from the top: the largest t that `kept` keys reach.
Vec threshold_by_bits(const std::int32_t* const* columns, int count, int kept, int lane) {
  const Keys tag;
  const Vec enough = hn::Set(tag, kept - 1);
  Vec threshold = hn::Zero(tag);
  for (int bit = 30; bit >= 0; --bit) {
    const Vec trial = hn::Or(threshold, hn::Set(tag, std::int32_t{1} << bit));
    const Vec below = hn::Sub(trial, hn::Set(tag, 1));
    Vec reached = hn::Zero(tag);  // a mask is -1 where it is set
    for (int j = 0; j < count; ++j) {
      const Vec key = hn::Load(tag, columns[j] + lane);
      reached = hn::Sub(reached, hn::VecFromMask(tag, hn::Gt(key, below)));
    }
    threshold = hn::IfThenElse(hn::Gt(reached, enough), trial, threshold);
  }
  return threshold;
}

Vec threshold_of(const std::int32_t* const* columns, int count, int kept, int lane) {
  switch (kept) {
    case 1:
      return threshold_by_list<1>(columns, count, lane);
    case 2:
      return threshold_by_list<2>(columns, count, lane);
    case 3:
      return threshold_by_list<3>(columns, count, lane);
    case 4:
      return threshold_by_list<4>(columns, count, lane);
    case 5:
      return threshold_by_list<5>(columns, count, lane);
    case 6:
      return threshold_by_list<6>(columns, count, lane);
    case 7:
      return threshold_by_list<7>(columns, count, lane);
    case 8:
      return threshold_by_list<8>(columns, count, lane);
    default:
      return threshold_by_bits(columns, count, kept, lane);
  }
}

void select(const std::int32_t* const* columns, int count, int kept, std::uint8_t* bits,
            double* sums) {
  const Keys tag;
  const int lanes = static_cast<int>(hn::Lanes(tag));
  HWY_ALIGN std::int32_t kept_keys[kPanelRows];
  HWY_ALIGN double local[kPanelRows];
  HWY_ALIGN Vec threshold[kPanelRows], ties[kPanelRows];  // ties: how many equal ones to take
  std::copy_n(sums, kPanelRows, local);
  for (int lane = 0, v = 0; lane < kPanelRows; lane += lanes, ++v) {
    threshold[v] = threshold_of(columns, count, kept, lane);
    ties[v] = hn::Set(tag, kept);
    for (int j = 0; j < count; ++j) {
      const Vec key = hn::Load(tag, columns[j] + lane);
      ties[v] = hn::Add(ties[v], hn::VecFromMask(tag, hn::Gt(key, threshold[v])));
    }
  }
  for (int j = 0; j < count; ++j) {
    std::uint8_t* out = bits + 2 * j;
    out[0] = out[1] = 0;
    for (int lane = 0, v = 0; lane < kPanelRows; lane += lanes, ++v) {
      const Vec key = hn::Load(tag, columns[j] + lane);
      const auto tie = hn::And(hn::Eq(key, threshold[v]), hn::Gt(ties[v], hn::Zero(tag)));
      ties[v] = hn::Add(ties[v], hn::VecFromMask(tag, tie));
      const auto keep = hn::Or(hn::Gt(key, threshold[v]), tie);
      std::uint8_t mask[8] = {};  // StoreMaskBits may write 8 bytes
      hn::StoreMaskBits(tag, keep, mask);
      out[lane / 8] |= static_cast<std::uint8_t>(mask[0] << (lane % 8));
      if (lanes == 16) out[1] = mask[1];
      hn::Store(hn::IfThenElseZero(keep, key), tag, kept_keys + lane);
    }
    add_lanes(kept_keys, local);
  }
  std::copy_n(local, kPanelRows, sums);
}

std::int32_t largest(const std::int32_t* keys, std::ptrdiff_t count) {
  const Keys tag;
  Vec top = hn::Zero(tag);
  for (std::ptrdiff_t i = 0; i < count; i += static_cast<std::ptrdiff_t>(hn::Lanes(tag)))
    top = hn::Max(top, hn::Load(tag, keys + i));
  return hn::GetLane(hn::MaxOfLanes(tag, top));
}

bool quantise(const std::int32_t* keys, std::ptrdiff_t count, const Quantisation& scale,
              std::int32_t* out) {
  const Keys tag;
  const Floats floats;
  const auto first = hn::Set(floats, scale.first), second = hn::Set(floats, scale.second);
  const auto limit = hn::Set(floats, scale.limit);
  Vec differs = hn::Zero(tag);
  for (std::ptrdiff_t i = 0; i < count; i += static_cast<std::ptrdiff_t>(hn::Lanes(tag))) {
    const auto score = hn::BitCast(floats, hn::Load(tag, keys + i));
    const auto exact = hn::Min(hn::Mul(hn::Mul(score, first), second), limit);
    const Vec rounded = hn::NearestInt(exact);
    differs = hn::Or(differs, hn::Xor(hn::BitCast(tag, exact),
                                      hn::BitCast(tag, hn::ConvertTo(floats, rounded))));
    hn::Store(rounded, tag, out + i);
  }
  return hn::AllTrue(tag, hn::Eq(differs, hn::Zero(tag)));
}

#if HWY_TARGET != HWY_SCALAR
// Adds the blocks of four lanes to one. The vector ends the recursion, not the tag: from Highway
// 1.0.5 on, the half of a scalable tag is not the same type as the tag of as many lanes.
template <class Tag>
HWY_INLINE Vec4 fold(Tag /*tag*/, Vec4 v) {
  return v;
}
template <class Tag, class V>
HWY_INLINE Vec4 fold(Tag tag, V v) {
  const hn::Half<Tag> half;
  return fold(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
}

// Lane i of the result is the sum of all lanes of the i-th argument.
HWY_INLINE Vec4 sums_of_lanes(Vec a, Vec b, Vec c, Vec d) {
  const Keys tag;
  const hn::Repartition<std::int64_t, Keys> pairs;
  const auto ab =
      hn::BitCast(pairs, hn::Add(hn::InterleaveLower(tag, a, b), hn::InterleaveUpper(tag, a, b)));
  const auto cd =
      hn::BitCast(pairs, hn::Add(hn::InterleaveLower(tag, c, d), hn::InterleaveUpper(tag, c, d)));
  return fold(tag, hn::Add(hn::BitCast(tag, hn::InterleaveLower(pairs, ab, cd)),
                           hn::BitCast(tag, hn::InterleaveUpper(pairs, ab, cd))));
}

// Four candidates at once; the last ones of a list are repeated to make four.
std::int32_t sum_above(const std::int32_t* columns, int pitch, const std::int32_t* floor,
                       const std::uint8_t* candidates, int count, std::int32_t offset,
                       std::int32_t* out) {
  const Keys tag;
  const Keys4 tag4;
  const Vec4 less = hn::Set(tag4, offset);
  Vec4 top = hn::Zero(tag4);
  for (int i = 0; i < count; i += 4) {
    const std::int32_t* column[4];
    for (int j = 0; j < 4; ++j)
      column[j] = columns + std::ptrdiff_t{candidates[std::min(i + j, count - 1)]} * pitch;
    Vec a = hn::Zero(tag), b = a, c = a, d = a;
    for (int lane = 0; lane < pitch; lane += static_cast<int>(hn::Lanes(tag))) {
      const Vec low = hn::Load(tag, floor + lane);
      a = hn::Add(a, hn::Max(hn::Load(tag, column[0] + lane), low));
      b = hn::Add(b, hn::Max(hn::Load(tag, column[1] + lane), low));
      c = hn::Add(c, hn::Max(hn::Load(tag, column[2] + lane), low));
      d = hn::Add(d, hn::Max(hn::Load(tag, column[3] + lane), low));
    }
    const Vec4 sums = hn::Sub(sums_of_lanes(a, b, c, d), less);
    top = hn::Max(top, sums);
    hn::StoreU(sums, tag4, out + i);
  }
  return hn::GetLane(hn::MaxOfLanes(tag4, top));
}
#else
std::int32_t sum_above(const std::int32_t* columns, int pitch, const std::int32_t* floor,
                       const std::uint8_t* candidates, int count, std::int32_t offset,
                       std::int32_t* out) {
  std::int32_t top = 0;
  for (int i = 0; i < count; ++i) {
    const std::int32_t* column = columns + std::ptrdiff_t{candidates[i]} * pitch;
    std::int32_t sum = 0;
    for (int lane = 0; lane < pitch; ++lane) sum += std::max(column[lane], floor[lane]);
    out[i] = sum - offset;
    top = std::max(top, out[i]);
  }
  return top;
}
#endif

// Two entries, the most common list, stay in registers.
void push_two(const std::int32_t* list, const std::int32_t* column, int pitch, std::int32_t* out) {
  const Keys tag;
  for (int lane = 0; lane < pitch; lane += static_cast<int>(hn::Lanes(tag))) {
    const Vec first = hn::Load(tag, list + lane), second = hn::Load(tag, list + pitch + lane);
    const Vec value = hn::Load(tag, column + lane);
    hn::Store(hn::Max(first, value), tag, out + lane);
    hn::Store(hn::Max(second, hn::Min(first, value)), tag, out + pitch + lane);
  }
}

void push(const std::int32_t* list, const std::int32_t* column, int depth, int pitch,
          std::int32_t* out) {
  if (depth == 2) return push_two(list, column, pitch, out);
  const Keys tag;
  for (int lane = 0; lane < pitch; lane += static_cast<int>(hn::Lanes(tag))) {
    Vec value = hn::Load(tag, column + lane);
    for (int i = 0; i < depth; ++i) {
      const std::ptrdiff_t at = std::ptrdiff_t{i} * pitch + lane;
      const Vec entry = hn::Load(tag, list + at);
      hn::Store(hn::Max(entry, value), tag, out + at);
      value = hn::Min(entry, value);
    }
  }
}

std::int32_t push_floor(const std::int32_t* list, const std::int32_t* column, int depth, int pitch,
                        std::int32_t* floor) {
  const Keys tag;
  const std::int32_t* last = list + std::ptrdiff_t{depth - 1} * pitch;
  Vec sum = hn::Zero(tag);
  for (int lane = 0; lane < pitch; lane += static_cast<int>(hn::Lanes(tag))) {
    Vec value = hn::Load(tag, column + lane);
    if (depth > 1) value = hn::Min(value, hn::Load(tag, last - pitch + lane));
    value = hn::Max(value, hn::Load(tag, last + lane));
    hn::Store(value, tag, floor + lane);
    sum = hn::Add(sum, value);
  }
  return hn::GetLane(hn::SumOfLanes(tag, sum));
}

std::int32_t sum(const std::int32_t* values, std::ptrdiff_t count) {
  const Keys tag;
  Vec total = hn::Zero(tag);
  for (std::ptrdiff_t i = 0; i < count; i += static_cast<std::ptrdiff_t>(hn::Lanes(tag)))
    total = hn::Add(total, hn::Load(tag, values + i));
  return hn::GetLane(hn::SumOfLanes(tag, total));
}

double sum_scores(const std::int32_t* keys, std::ptrdiff_t count) {
  const Doubles doubles;
  const HalfFloats floats;
  const hn::Rebind<std::int32_t, Doubles> ints;
  const auto cap = hn::Set(doubles, kInfinityScore);
  HWY_ALIGN double sums[kPanelRows] = {};
  for (std::ptrdiff_t i = 0; i < count; i += kPanelRows) {
    for (int lane = 0; lane < kPanelRows; lane += static_cast<int>(hn::Lanes(doubles))) {
      const auto scores = hn::BitCast(floats, hn::Load(ints, keys + i + lane));
      const auto capped = hn::Min(hn::PromoteTo(doubles, scores), cap);
      hn::Store(hn::Add(hn::Load(doubles, sums + lane), capped), doubles, sums + lane);
    }
  }
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

const PanelKernels& table() {
  static constexpr PanelKernels kTable = {transpose, add_scores, select,     largest, quantise,
                                          sum_above, push,       push_floor, sum,     sum_scores};
  return kTable;
}

}  // namespace HWY_NAMESPACE
}  // namespace coppice::prune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace coppice::prune {
namespace {
HWY_EXPORT(table);
}

const PanelKernels& panel_kernels() { return HWY_DYNAMIC_DISPATCH(table)(); }

}  // namespace coppice::prune
#endif  // HWY_ONCE
