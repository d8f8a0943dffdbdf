// Norms of tokens of up to kMostAtOnce features by one kernel: 64 tokens lie in shared memory, are
// summed up, changed where they lie and turned on their way out, while the next 64 come in.
//
// A thread block of 64 tokens each, two on a multiprocessor, took 61 us for 50688 x 768 where tiles
// with known sums take 42: all of them read at the same time, then all wrote.
#include <algorithm>

#include "cuda/kernels/norm_parts.h"
#include "cuda/launch.h"
#include "cuda/ptx/copy.h"

namespace coppice::cuda {
namespace {

using Kind = Normalization::Kind;
constexpr int kTokens = 64;  // of a tile
constexpr int kThreads = 512;
constexpr int kTogether = 2;  // tokens that a warp sums up side by side
constexpr int kWarpFeatures = 8 * 32;
constexpr int kMostAtOnce = 3 * kWarpFeatures;  // a tile fits into the shared memory of any GPU

/// Elements of a token in shared memory: 16 bytes more than it has, so that 8 tokens' chunks lie in
/// different banks.
__host__ __device__ inline int padded(std::int64_t cols) { return static_cast<int>(cols) + 8; }

__device__ inline float sum_of_warp(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

__device__ inline void load_tokens(const NormArguments& p, std::int64_t first, Element* tile) {
  const int chunks = static_cast<int>(p.move.cols) / 8, stride = padded(p.move.cols);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const Element* from = static_cast<const Element*>(p.move.from) + first * p.move.from_stride;
  for (int row = warp; row < kTokens && first + row < p.move.rows; row += kThreads / 32)
    for (int chunk = lane; chunk < chunks; chunk += 32)
      ptx::copy_async_16(ptx::shared_address(tile + row * stride + 8 * chunk),
                         from + row * p.move.from_stride + 8 * chunk);
}

/// Chunks lane, lane + 32 and so on of a token.
template <Dtype kType, int kLoads>
struct TokenChunks {
  uint4 chunk[kLoads];

  __device__ void load(const Element* token, int cols, int lane) {
#pragma unroll
    for (int j = 0; j < kLoads; ++j)
      if (8 * (lane + 32 * j) < cols)
        chunk[j] = *reinterpret_cast<const uint4*>(token + 8 * (lane + 32 * j));
  }
  /// Of what `of` makes of all features.
  template <class Of>
  __device__ float sum(int cols, int lane, const Of& of) const {
    float total = 0;
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      if (8 * (lane + 32 * j) >= cols) continue;
      const Values x = unpack<kType>(chunk[j]);
      float own[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) own[k] = of(x.v[k]) + of(x.v[k + 4]);
      total += (own[0] + own[1]) + (own[2] + own[3]);
    }
    return sum_of_warp(total);
  }
};

/// Tokens `row` and on of a tile, where they lie.
template <Dtype kType, Kind kKind, int kLoads>
__device__ void normalize_tokens(const NormArguments& p, Element* tile, int row, int lane) {
  const int cols = static_cast<int>(p.move.cols), stride = padded(cols);
  TokenChunks<kType, kLoads> x[kTogether];
  float mean[kTogether], factor[kTogether];
  const float share = 1 / static_cast<float>(cols);
#pragma unroll
  for (int i = 0; i < kTogether; ++i) {
    x[i].load(tile + (row + i) * stride, cols, lane);
    mean[i] = 0;
    if (kKind == Kind::layer) mean[i] = share * x[i].sum(cols, lane, [](float v) { return v; });
  }
#pragma unroll
  for (int i = 0; i < kTogether; ++i) {
    const float variance =
        share * x[i].sum(cols, lane, [&](float v) { return (v - mean[i]) * (v - mean[i]); });
    factor[i] = rsqrtf(variance + p.norm.epsilon);
  }
#pragma unroll
  for (int j = 0; j < kLoads; ++j) {
    const int col = 8 * (lane + 32 * j);
    if (col >= cols) continue;
    const Values weight = features_of<kType, true>(p, p.norm.weight, col, 1);
    const Values bias = features_of<kType, true>(p, p.norm.bias, col, 0);
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      Values v = unpack<kType>(x[i].chunk[j]);
#pragma unroll
      for (int k = 0; k < 8; ++k)
        v.v[k] = fmaf((v.v[k] - mean[i]) * factor[i], weight.v[k], bias.v[k]);
      *reinterpret_cast<uint4*>(tile + (row + i) * stride + col) = pack<kType>(v);
    }
  }
}

/// 8 features of 32 tokens at a time.
__device__ inline void store_turned(const NormArguments& p, const Element* tile, std::int64_t first,
                                    int warp, int lane) {
  const int stride = padded(p.move.cols), chunks = static_cast<int>(p.move.cols) / 8;
  for (int chunk = warp; chunk < chunks; chunk += kThreads / 32) {
#pragma unroll
    for (int part = 0; part < kTokens / kRun; ++part) {
      std::uint32_t v[4];
      ptx::load_matrix_4_transposed(
          v, ptx::shared_address(tile + (kRun * part + lane) * stride + 8 * chunk));
      transpose_in_quad(v, lane % 4);
      store_chunk<Element, false>(p.move, first + kRun * part + lane % 4 * 8, 8 * chunk + lane / 4,
                                  make_uint4(v[0], v[1], v[2], v[3]));
    }
  }
}

template <Dtype kType, Kind kKind, int kLoads>
__global__ void __launch_bounds__(kThreads, 2)
    norm_at_once_kernel(const NormArguments p, int tiles, int buffers) {
  extern __shared__ __align__(16) Element shared[];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int step = static_cast<int>(gridDim.x), size = kTokens * padded(p.move.cols);
  int buffer = 0, coming = static_cast<int>(blockIdx.x);
  const auto load_next = [&](int into) {
    if (coming < tiles) load_tokens(p, std::int64_t{coming} * kTokens, shared + into * size);
    ptx::copy_async_commit();
    coming += step;
  };
  for (int i = 0; i < buffers; ++i) load_next(i);
  for (int now = static_cast<int>(blockIdx.x); now < tiles; now += step) {
    buffers == 2 ? ptx::copy_async_wait<1>() : ptx::copy_async_wait<0>();
    __syncthreads();
    Element* tile = shared + buffer * size;
    for (int row = kTogether * warp; row < kTokens; row += kTogether * kThreads / 32)
      normalize_tokens<kType, kKind, kLoads>(p, tile, row, lane);
    __syncthreads();
    store_turned(p, tile, std::int64_t{now} * kTokens, warp, lane);
    __syncthreads();
    load_next(buffer);
    buffer = buffers == 2 ? 1 - buffer : 0;
  }
}

template <Dtype kType, Kind kKind, int kLoads>
void launch_loads(const NormArguments& p, const DeviceInfo& device, cudaStream_t stream) {
  constexpr int kMostBlocks = 2;  // on a multiprocessor
  const auto tiles = static_cast<int>((p.move.rows + kTokens - 1) / kTokens);
  const int tile_bytes = kTokens * padded(p.move.cols) * static_cast<int>(sizeof(Element));
  const int buffers = 2 * tile_bytes <= device.shared_bytes ? 2 : 1;
  const int blocks = std::clamp(device.shared_bytes / (buffers * tile_bytes), 1, kMostBlocks);
  const LaunchShape shape = {
      .grid = dim3(static_cast<unsigned>(std::min(tiles, blocks * device.multiprocessors))),
      .threads = kThreads,
      .shared_bytes = buffers * tile_bytes};
  launch(norm_at_once_kernel<kType, kKind, kLoads>, shape, stream, "launching a norm", p, tiles,
         buffers);
}

template <Dtype kType, Kind kKind>
void launch_kind(const NormArguments& p, const DeviceInfo& device, cudaStream_t stream) {
  if (p.move.cols <= kWarpFeatures)
    launch_loads<kType, kKind, 1>(p, device, stream);
  else if (p.move.cols <= 2 * kWarpFeatures)
    launch_loads<kType, kKind, 2>(p, device, stream);
  else
    launch_loads<kType, kKind, 3>(p, device, stream);
}

}  // namespace

bool norms_at_once(NormArguments p) {
  find_wide(p);
  return p.move.wide_from && p.wide_factors && p.move.cols % 8 == 0 && p.move.cols <= kMostAtOnce;
}

void launch_norm_at_once(NormArguments p, Dtype dtype, const DeviceInfo& device,
                         cudaStream_t stream) {
  find_wide(p);
  const bool rms = p.norm.kind == Kind::rms;
  if (dtype == Dtype::f16)
    rms ? launch_kind<Dtype::f16, Kind::rms>(p, device, stream)
        : launch_kind<Dtype::f16, Kind::layer>(p, device, stream);
  else
    rms ? launch_kind<Dtype::bf16, Kind::rms>(p, device, stream)
        : launch_kind<Dtype::bf16, Kind::layer>(p, device, stream);
}

}  // namespace coppice::cuda
