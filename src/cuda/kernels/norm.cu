// LayerNorm and RMSNorm of token-major activations, written feature-major. 16-bit elements, sums in
// fp32.
//
// A thread block takes 32 tokens. Its warps first read two tokens each, whole rows, for their
// statistics; then the block reads the tokens again, from L2 or L1, a stripe of 256 features at a
// time, and a stripe goes through shared memory as in transpose.cu: 16-byte loads, 64-byte runs of
// stores. The next stripe's loads are under way while one is stored. For few tokens the features of
// a row are shared out over several blocks, of which each computes the statistics again: reading
// L2 costs less than a second launch.
//
// The variance comes from chunks of 8 features, each with its own mean, merged by the rule of Chan,
// Golub and LeVeque: a mean much larger than the deviation costs no digits.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/kernels/norm.h"
#include "cuda/kernels/transpose_tile.h"

namespace coppice::cuda {
namespace {

using Element = std::uint16_t;
constexpr int kWarps = 16;
constexpr int kThreads = 32 * kWarps;
constexpr int kParts = 2;  // tiles of a stripe, each kRun tokens x kTile features
constexpr int kTile = TileShape<Element>::kTile;
constexpr int kStripe = kParts * kTile;
static_assert(kThreads == kRun * kChunks, "a thread loads one chunk of each tile");
static_assert(kWarps == kChunks, "a warp stores one chunk of each tile");

struct Values {
  float v[8];
};

template <Dtype kType>
__device__ Values unpack(uint4 chunk) {
  const std::uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
  Values out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack_pair<kType>(words[i]);
    out.v[2 * i] = pair.x;
    out.v[2 * i + 1] = pair.y;
  }
  return out;
}

/// Count, mean and sum of squared distances from it; of RMSNorm the sum of squares alone.
struct Moments {
  float count = 0, mean = 0, squares = 0;

  __device__ void merge(const Moments& other) {
    const float total = count + other.count;
    if (total == 0) return;
    const float share = __fdividef(other.count, total), delta = other.mean - mean;
    mean = fmaf(delta, share, mean);
    squares += fmaf(delta * delta, count * share, other.squares);
    count = total;
  }

  /// The first `n` of 8 values; those after them are zero.
  __device__ void add(const Values& x, int n) {
    Moments own{static_cast<float>(n), 0, 0};
#pragma unroll
    for (const float v : x.v) own.mean += v;
    own.mean = __fdividef(own.mean, own.count);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float distance = x.v[i] - own.mean;
      if (i < n) own.squares = fmaf(distance, distance, own.squares);
    }
    merge(own);
  }
};

template <bool kRms>
__device__ void add_chunk(Moments& sums, const Values& x, int n) {
  if constexpr (kRms) {
#pragma unroll
    for (const float v : x.v) sums.squares = fmaf(v, v, sums.squares);
  } else {
    sums.add(x, n);
  }
}

/// Mean and factor of one token, in every lane of the warp.
template <Dtype kType, bool kRms, bool kWhole>
__device__ float2 token_statistics(const NormArguments& p, std::int64_t token, int lane) {
  Moments sums;
#pragma unroll 4
  for (std::int64_t col = lane * 8; col < p.move.cols; col += 256) {
    const int n = kWhole ? 8 : static_cast<int>(min(std::int64_t{8}, p.move.cols - col));
    add_chunk<kRms>(sums, unpack<kType>(load_chunk<Element, kWhole>(p.move, token, col)), n);
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const Moments other{__shfl_xor_sync(0xffffffffu, sums.count, step),
                        __shfl_xor_sync(0xffffffffu, sums.mean, step),
                        __shfl_xor_sync(0xffffffffu, sums.squares, step)};
    if constexpr (kRms)
      sums.squares += other.squares;
    else
      sums.merge(other);
  }
  const float variance = sums.squares / static_cast<float>(p.move.cols);
  return {sums.mean, rsqrtf(variance + p.epsilon)};
}

/// 8 factors or terms of the features from `col` on; `other` where there are none.
template <Dtype kType, bool kWhole>
__device__ Values features_of(const NormArguments& p, const void* data, std::int64_t col,
                              float other) {
  Values out;
  if (data != nullptr && (kWhole || (p.wide_factors && col + 8 <= p.move.cols)))
    return unpack<kType>(
        __ldg(reinterpret_cast<const uint4*>(static_cast<const Element*>(data) + col)));
#pragma unroll
  for (int i = 0; i < 8; ++i)
    out.v[i] =
        data != nullptr && col + i < p.move.cols ? load_element<kType>(data, col + i) : other;
  return out;
}

template <Dtype kType, bool kWhole>
__device__ uint4 normalized(const NormArguments& p, uint4 chunk, float2 token, std::int64_t col) {
  const Values x = unpack<kType>(chunk);
  const Values weight = features_of<kType, kWhole>(p, p.weight, col, 1);
  const Values bias = features_of<kType, kWhole>(p, p.bias, col, 0);
  std::uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float y[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int j = 2 * i + e;
      y[e] = fmaf((x.v[j] - token.x) * token.y, weight.v[j], bias.v[j]);
    }
    words[i] = pack_pair<kType>(y[0], y[1]);
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

/// Tokens first .. first + 31, features begin .. end - 1.
template <Dtype kType, bool kRms, bool kWhole>
__device__ void norm_tokens(const NormArguments& p, std::int64_t first, std::int64_t begin,
                            std::int64_t end, Element (*tiles)[kRun * kTile], float2* statistics) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kRun / kWarps; ++i) {
    const int token = warp + i * kWarps;
    const float2 found = token_statistics<kType, kRms, kWhole>(p, first + token, lane);
    if (lane == 0) statistics[token] = found;
  }
  __syncthreads();
  const int row = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
  const float2 token = statistics[row];
  const std::int64_t own = chunk * 8;
  uint4 loaded[kParts];
#pragma unroll
  for (int q = 0; q < kParts; ++q)
    loaded[q] = load_chunk<Element, kWhole>(p.move, first + row, begin + q * kTile + own);
  for (std::int64_t stripe = begin; stripe < end; stripe += kStripe) {
#pragma unroll
    for (int q = 0; q < kParts; ++q)
      *reinterpret_cast<uint4*>(tiles[q] + TileShape<Element>::place(row, chunk)) =
          normalized<kType, kWhole>(p, loaded[q], token, stripe + q * kTile + own);
    __syncthreads();
    if (stripe + kStripe < end) {
#pragma unroll
      for (int q = 0; q < kParts; ++q)
        loaded[q] =
            load_chunk<Element, kWhole>(p.move, first + row, stripe + kStripe + q * kTile + own);
    }
#pragma unroll
    for (int q = 0; q < kParts; ++q)
      store_chunk<Element, kWhole>(p.move, first + lane % 4 * 8,
                                   stripe + q * kTile + warp * 8 + lane / 4,
                                   turned_chunk(tiles[q], warp, 0, lane));
    __syncthreads();
  }
}

template <Dtype kType, bool kRms>
__global__ void __launch_bounds__(kThreads)
    norm_kernel(const NormArguments p, std::int64_t features_per_block) {
  __shared__ __align__(128) Element tiles[kParts][kRun * kTile];
  __shared__ float2 statistics[kRun];
  const std::int64_t first = std::int64_t{blockIdx.x} * kRun;
  const std::int64_t begin = blockIdx.y * features_per_block;
  const std::int64_t end = min(begin + features_per_block, p.move.cols);
  if (p.wide_factors && p.move.wide_from && p.move.wide_to && first + kRun <= p.move.rows &&
      p.move.cols % kStripe == 0)
    norm_tokens<kType, kRms, true>(p, first, begin, end, tiles, statistics);
  else
    norm_tokens<kType, kRms, false>(p, first, begin, end, tiles, statistics);
}

template <Dtype kType>
void launch(const NormArguments& p, dim3 grid, std::int64_t features, cudaStream_t stream) {
  if (p.rms)
    norm_kernel<kType, true><<<grid, kThreads, 0, stream>>>(p, features);
  else
    norm_kernel<kType, false><<<grid, kThreads, 0, stream>>>(p, features);
  check(cudaGetLastError(), "launching a norm");
}

bool on_16_bytes(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

}  // namespace

void launch_norm(NormArguments p, Dtype dtype, int multiprocessors, cudaStream_t stream) {
  p.move.wide_from = on_16_bytes(p.move.from) && p.move.from_stride % 8 == 0;
  p.move.wide_to = on_16_bytes(p.move.to) && p.move.to_stride % 8 == 0;
  p.wide_factors = on_16_bytes(p.weight) && on_16_bytes(p.bias);
  const std::int64_t token_tiles = (p.move.rows + kRun - 1) / kRun;
  const std::int64_t stripes = (p.move.cols + kStripe - 1) / kStripe;
  if (token_tiles * stripes == 0) return;
  const std::int64_t wanted = std::clamp(multiprocessors / token_tiles, std::int64_t{1}, stripes);
  const std::int64_t stripes_each = (stripes + wanted - 1) / wanted;
  const dim3 grid(static_cast<unsigned>(token_tiles),
                  static_cast<unsigned>((stripes + stripes_each - 1) / stripes_each));
  if (dtype == Dtype::f16)
    launch<Dtype::f16>(p, grid, stripes_each * kStripe, stream);
  else
    launch<Dtype::bf16>(p, grid, stripes_each * kStripe, stream);
}

}  // namespace coppice::cuda
