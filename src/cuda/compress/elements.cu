// Element-wise N:M (and dense): the N largest weights of every row and group, ties to the lower
// column. Lanes are columns. Groups of up to 32 columns lie side by side in a warp and every lane
// counts the weights before it; larger groups find the N-th largest key bit by bit from the top.
#include "cuda/check.h"
#include "cuda/compress/weight.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kAll = 0xffffffffu;
constexpr int kMaxWords = 8;  // of 32 columns: 256

template <Dtype kType>
__device__ inline void store_value(const CompressArguments& a, std::int64_t row, std::int64_t place,
                                   std::uint32_t bits) {
  using Bits = typename Weight<kType>::Bits;
  static_cast<Bits*>(a.values)[row * a.kept + place] = static_cast<Bits>(bits);
}

__device__ inline std::int64_t warp_index() {
  return (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
}
__device__ inline std::int64_t warp_count() { return std::int64_t{gridDim.x} * (kThreads / 32); }

/// Groups of at most 32 columns, 32 / group_cols of them in a warp.
template <Dtype kType>
__global__ void __launch_bounds__(kThreads) small_groups_kernel(const CompressArguments a) {
  const int lane = threadIdx.x % 32, width = a.group_cols, per = 32 / width;
  const int part = lane / width, place = lane - part * width, first = part * width;
  const std::int32_t batches = (a.group_count + per - 1) / per;
  for (std::int64_t w = warp_index(); w < a.rows * batches; w += warp_count()) {
    const std::int64_t row = w / batches;
    const std::int32_t g = static_cast<std::int32_t>(w - row * batches) * per + part;
    const bool in_group = part < per && g < a.group_count;
    const ColumnGroup group = in_group ? a.groups[g] : ColumnGroup{};
    const bool exists = place < group.cols;
    const std::uint32_t bits = exists ? *weight_at<kType>(a, row, group.col + place) : 0;
    const std::int32_t key = exists ? key_of<kType>(bits) : -1;
    if (exists) note_nan<kType>(a, key, row, group.col + place);
    int before = 0;  // weights that come before this one
    for (int i = 0; i < width; ++i) {
      const std::int32_t other = __shfl_sync(kAll, key, (first + i) & 31);
      before += other > key || (other == key && i < place);
    }
    const bool keep = exists && before < group.kept;
    const unsigned all_kept = __ballot_sync(kAll, keep) >> first;
    const unsigned kept = width == 32 ? all_kept : all_kept & ((1u << width) - 1);
    if (keep) store_value<kType>(a, row, group.value + __popc(kept & ((1u << place) - 1)), bits);
    if (in_group && place == 0 && a.choices != nullptr) a.choices[row * a.group_count + g] = kept;
  }
}

/// The largest key that at least `kept` of the warp's keys reach; 0 if there are not as many.
template <Dtype kType>
__device__ inline std::int32_t threshold(const std::int32_t (&keys)[kMaxWords], int words,
                                         int kept) {
  std::int32_t result = 0;
  for (int bit = Weight<kType>::kKeyBits - 1; bit >= 0; --bit) {
    const std::int32_t trial = result | 1 << bit;
    int reached = 0;
#pragma unroll
    for (int i = 0; i < kMaxWords; ++i)
      if (i < words) reached += __popc(__ballot_sync(kAll, keys[i] >= trial));
    if (reached >= kept) result = trial;
  }
  return result;
}

/// Groups of more than 32 columns, one in a warp: lane l holds columns l, l + 32, ...
template <Dtype kType>
__global__ void __launch_bounds__(kThreads) large_groups_kernel(const CompressArguments a) {
  const int lane = threadIdx.x % 32;
  for (std::int64_t w = warp_index(); w < a.rows * a.group_count; w += warp_count()) {
    const std::int64_t row = w / a.group_count;
    const std::int32_t g = static_cast<std::int32_t>(w - row * a.group_count);
    const ColumnGroup group = a.groups[g];
    const auto* from = weight_at<kType>(a, row, group.col);
    std::uint32_t bits[kMaxWords];
    std::int32_t keys[kMaxWords];
#pragma unroll
    for (int i = 0; i < kMaxWords; ++i) {
      const int col = 32 * i + lane;
      bits[i] = col < group.cols ? from[col] : 0;
      keys[i] = col < group.cols ? key_of<kType>(bits[i]) : -1;
      note_nan<kType>(a, keys[i], row, group.col + col);
    }
    const std::int32_t limit = threshold<kType>(keys, a.choice_words, group.kept);
    int ties = group.kept;  // how many of those equal to the limit are kept
#pragma unroll
    for (int i = 0; i < kMaxWords; ++i) ties -= __popc(__ballot_sync(kAll, keys[i] > limit));
    const unsigned below = (1u << lane) - 1;
    std::int64_t place = group.value;
#pragma unroll
    for (int i = 0; i < kMaxWords; ++i) {
      if (i >= a.choice_words) break;
      const unsigned equal = __ballot_sync(kAll, keys[i] == limit);
      const bool keep = keys[i] > limit || (keys[i] == limit && __popc(equal & below) < ties);
      ties -= min(__popc(equal), max(ties, 0));
      const unsigned kept = __ballot_sync(kAll, keep);
      if (keep) store_value<kType>(a, row, place + __popc(kept & below), bits[i]);
      place += __popc(kept);
      if (lane == 0 && a.choices != nullptr)
        a.choices[(row * a.group_count + g) * a.choice_words + i] = kept;
    }
  }
}

template <Dtype kType>
void launch(const CompressArguments& a, cudaStream_t stream) {
  const bool small = a.group_cols <= 32;
  const std::int64_t per = small ? 32 / a.group_cols : 1;
  const std::int64_t warps = a.rows * ((a.group_count + per - 1) / per);
  const std::int64_t blocks = (warps + kThreads / 32 - 1) / (kThreads / 32);
  const auto grid = static_cast<unsigned>(blocks < (1 << 30) ? blocks : 1 << 30);
  if (small)
    small_groups_kernel<kType><<<grid, kThreads, 0, stream>>>(a);
  else
    large_groups_kernel<kType><<<grid, kThreads, 0, stream>>>(a);
  check(cudaGetLastError(), "launching element-wise compression");
}

}  // namespace

void launch_elements(const CompressArguments& a, Dtype dtype, cudaStream_t stream) {
  if (dtype == Dtype::f16) return launch<Dtype::f16>(a, stream);
  if (dtype == Dtype::bf16) return launch<Dtype::bf16>(a, stream);
  launch<Dtype::f32>(a, stream);
}

}  // namespace coppice::cuda
