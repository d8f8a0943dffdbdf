// LayerNorm and RMSNorm of token-major activations, written feature-major. 16-bit elements, sums in
// fp32.
//
// Two kernels: a warp reads a token for its statistics; then tiles are turned as in transpose.cu,
// changed on their way. One kernel of both (blocks of 32 tokens, each read twice, 64-byte runs of
// stores) took 61 us for 4096 x 4096 where a copy takes 18: too few loads under way at a time. And
// whoever makes x can sum it up for less than a kernel that reads it again, as compilers of graphs
// do; then the second kernel is all there is to do.
//
// The variance comes from chunks of 8 features, each with its own mean, merged by the rule of Chan,
// Golub and LeVeque: a mean much larger than the deviation costs no digits.
#include "cuda/check.h"
#include "cuda/kernels/norm.h"
#include "cuda/kernels/transpose_tile.h"
#include "cuda/kernels/values.h"

namespace coppice::cuda {
namespace {

using Element = std::uint16_t;
using Kind = Normalization::Kind;
constexpr int kTile = TileShape<Element>::kTile;
constexpr int kWarps = 8;  // tokens of a block that sums up

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

template <Kind kKind>
__device__ void add_chunk(Moments& sums, const Values& x, int n) {
  if constexpr (kKind == Kind::rms) {
#pragma unroll
    for (const float v : x.v) sums.squares = fmaf(v, v, sums.squares);
  } else {
    sums.add(x, n);
  }
}

/// Of one token, in every lane of the warp.
template <Dtype kType, Kind kKind, bool kWhole>
__device__ Moments token_moments(const NormArguments& p, std::int64_t token, int lane) {
  Moments sums;
#pragma unroll 8
  for (std::int64_t col = lane * 8; col < p.move.cols; col += 256) {
    const int n = kWhole ? 8 : static_cast<int>(min(std::int64_t{8}, p.move.cols - col));
    add_chunk<kKind>(sums, unpack<kType>(load_chunk<Element, kWhole>(p.move, token, col)), n);
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const Moments other{__shfl_xor_sync(0xffffffffu, sums.count, step),
                        __shfl_xor_sync(0xffffffffu, sums.mean, step),
                        __shfl_xor_sync(0xffffffffu, sums.squares, step)};
    if constexpr (kKind == Kind::rms)
      sums.squares += other.squares;
    else
      sums.merge(other);
  }
  return sums;
}

template <Dtype kType, Kind kKind>
__global__ void __launch_bounds__(32 * kWarps) statistics_kernel(const NormArguments p) {
  const std::int64_t token = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (token >= p.move.rows) return;
  const Moments sums = p.move.wide_from && p.move.cols % 8 == 0
                           ? token_moments<kType, kKind, true>(p, token, lane)
                           : token_moments<kType, kKind, false>(p, token, lane);
  if (lane != 0) return;
  const float variance = sums.squares / static_cast<float>(p.move.cols);
  p.norm.statistics.factor[token] = rsqrtf(variance + p.norm.epsilon);
  if (kKind == Kind::layer) p.norm.statistics.mean[token] = sums.mean;
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

/// A thread's part of a tile: 8 features, of which weight and bias stay in registers.
template <Dtype kType, Kind kKind, bool kWhole>
struct Normalize {
  const NormArguments& p;
  std::int64_t first_token;
  Values weight, bias;

  __device__ Normalize(const NormArguments& arguments, std::int64_t token, std::int64_t col)
      : p(arguments),
        first_token(token),
        weight(features_of<kType, kWhole>(p, p.norm.weight, col, 1)),
        bias(features_of<kType, kWhole>(p, p.norm.bias, col, 0)) {}

  __device__ uint4 operator()(uint4 chunk, int i) const {
    const std::int64_t token = first_token + i * kTileRows;
    if (!kWhole && token >= p.move.rows) return chunk;
    const float factor = __ldg(p.norm.statistics.factor + token);
    const float mean = kKind == Kind::layer ? __ldg(p.norm.statistics.mean + token) : 0;
    Values x = unpack<kType>(chunk);
#pragma unroll
    for (int k = 0; k < 8; ++k) x.v[k] = fmaf((x.v[k] - mean) * factor, weight.v[k], bias.v[k]);
    return pack<kType>(x);
  }
};

template <Dtype kType, Kind kKind, bool kWhole>
__device__ void norm_tile(const NormArguments& p, std::int64_t row, std::int64_t col,
                          Element* tile) {
  const Normalize<kType, kKind, kWhole> change(p, row + threadIdx.x / kChunks,
                                               col + threadIdx.x % kChunks * 8);
  transpose_tile<Element, kWhole>(p.move, row, col, tile, change);
}

template <Dtype kType, Kind kKind>
__global__ void __launch_bounds__(kTileThreads)
    norm_kernel(const NormArguments p, unsigned row_tiles) {
  __shared__ __align__(128) Element tile[kTile * kTile];
  const std::int64_t row = std::int64_t{blockIdx.x % row_tiles} * kTile;
  const std::int64_t col = std::int64_t{blockIdx.x / row_tiles} * kTile;
  if (p.wide_factors && p.move.wide_from && p.move.wide_to && row + kTile <= p.move.rows &&
      col + kTile <= p.move.cols)
    norm_tile<kType, kKind, true>(p, row, col, tile);
  else
    norm_tile<kType, kKind, false>(p, row, col, tile);
}

template <Dtype kType, Kind kKind>
struct Statistics {
  static void launch(const NormArguments& p, cudaStream_t stream) {
    const auto blocks = static_cast<unsigned>((p.move.rows + kWarps - 1) / kWarps);
    statistics_kernel<kType, kKind><<<blocks, 32 * kWarps, 0, stream>>>(p);
  }
};

template <Dtype kType, Kind kKind>
struct Norm {
  static void launch(const NormArguments& p, cudaStream_t stream) {
    const auto rows = static_cast<unsigned>((p.move.rows + kTile - 1) / kTile);
    const auto cols = static_cast<unsigned>((p.move.cols + kTile - 1) / kTile);
    norm_kernel<kType, kKind><<<rows * cols, kTileThreads, 0, stream>>>(p, rows);
  }
};

bool on_16_bytes(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

template <template <Dtype, Kind> typename Kernel>
void launch(NormArguments p, Dtype dtype, cudaStream_t stream) {
  p.move.wide_from = on_16_bytes(p.move.from) && p.move.from_stride % 8 == 0;
  p.move.wide_to = on_16_bytes(p.move.to) && p.move.to_stride % 8 == 0;
  p.wide_factors = on_16_bytes(p.norm.weight) && on_16_bytes(p.norm.bias);
  const bool rms = p.norm.kind == Kind::rms;
  if (dtype == Dtype::f16)
    rms ? Kernel<Dtype::f16, Kind::rms>::launch(p, stream)
        : Kernel<Dtype::f16, Kind::layer>::launch(p, stream);
  else
    rms ? Kernel<Dtype::bf16, Kind::rms>::launch(p, stream)
        : Kernel<Dtype::bf16, Kind::layer>::launch(p, stream);
  check(cudaGetLastError(), "launching a norm");
}

}  // namespace

void launch_token_statistics(NormArguments p, Dtype dtype, cudaStream_t stream) {
  launch<Statistics>(p, dtype, stream);
}

void launch_norm(NormArguments p, Dtype dtype, cudaStream_t stream) {
  launch<Norm>(p, dtype, stream);
}

}  // namespace coppice::cuda
