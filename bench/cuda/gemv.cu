// y = w x for 1 to 8 tokens, bound by the bytes of w: every byte is loaded once, in 16-byte loads,
// 8 of them in flight in every thread, and the first ones before the kernel before has ended.
//
// 16 bits: a thread block has 16 rows, its warps share their columns. The tensor cores multiply,
// for they take 8 tokens at the price of one: lane 4g+t of a warp loads 8 columns of rows g and
// g+8, and the same columns of token g, which are the fragments of two products of 16 columns each
// (which column is called which k does not matter as long as both sides agree). f32: a thread block
// has 8 rows, lanes have 4 columns of all of them, and add up by shuffles. Sums of warps meet in
// shared memory, in order.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "bench/cuda/gemv.h"
#include "bench/cuda/overlap.h"
#include "cuda/ptx/mma.h"

namespace coppice::bench {
namespace {

constexpr int kWarpSize = 32;

__device__ inline uint4 load_once(const void* p) { return __ldcs(static_cast<const uint4*>(p)); }

// ---- 16 bits

constexpr int kMmaWarps = 16;
constexpr int kMmaRows = 16;
constexpr int kMmaCols = 32;  // of a step: two products
constexpr int kMmaSteps = 4;  // loaded together: 256 bytes of each row

template <Dtype kType>
__device__ inline void store_half(void* y, std::int64_t at, float value) {
  if constexpr (kType == Dtype::f16)
    static_cast<__half*>(y)[at] = __float2half(value);
  else
    static_cast<__nv_bfloat16*>(y)[at] = __float2bfloat16(value);
}

struct MmaLoads {
  uint4 low[kMmaSteps], high[kMmaSteps];  // rows g and g + 8
};

__device__ inline void load_weights(MmaLoads& loads, const std::uint16_t* low,
                                    const std::uint16_t* high, std::int64_t col,
                                    std::int64_t cols) {
#pragma unroll
  for (int i = 0; i < kMmaSteps; ++i) {
    const std::int64_t at = col + i * kMmaCols;
    loads.low[i] = at < cols ? load_once(low + at) : uint4{};
    loads.high[i] = at < cols ? load_once(high + at) : uint4{};
  }
}

template <Dtype kType>
__global__ void __launch_bounds__(kMmaWarps* kWarpSize, 2) gemv_mma(const GemvArguments p) {
  __shared__ float4 sums[kMmaWarps][kWarpSize];
  allow_next_kernel();
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int g = lane / 4, t = lane % 4;
  const std::int64_t row = std::int64_t{blockIdx.x} * kMmaRows + g;
  const auto* w = static_cast<const std::uint16_t*>(p.w);
  // Rows past the end are read as the last one, and not stored.
  const std::uint16_t* low = w + min(row, p.rows - 1) * p.cols;
  const std::uint16_t* high = w + min(row + 8, p.rows - 1) * p.cols;
  const std::uint16_t* x = static_cast<const std::uint16_t*>(p.x) + g * p.cols;
  constexpr int kWarpCols = kMmaCols * kMmaSteps;

  float d[4] = {};
  MmaLoads loads;
  std::int64_t first = warp * kWarpCols;  // the same in all lanes: they multiply together
  load_weights(loads, low, high, first + t * 8, p.cols);
  wait_for_last_kernel();
  while (first < p.cols) {
    uint4 b[kMmaSteps];
#pragma unroll
    for (int i = 0; i < kMmaSteps; ++i) {
      const std::int64_t at = first + t * 8 + i * kMmaCols;
      b[i] = g < p.tokens && at < p.cols ? __ldg(reinterpret_cast<const uint4*>(x + at)) : uint4{};
    }
#pragma unroll
    for (int i = 0; i < kMmaSteps; ++i) {
      const uint4 &l = loads.low[i], &h = loads.high[i];
      cuda::ptx::dense_mma<kType>(d, {l.x, h.x, l.y, h.y}, {b[i].x, b[i].y});
      cuda::ptx::dense_mma<kType>(d, {l.z, h.z, l.w, h.w}, {b[i].z, b[i].w});
    }
    first += kMmaWarps * kWarpCols;
    load_weights(loads, low, high, first + t * 8, p.cols);
  }
  sums[warp][lane] = {d[0], d[1], d[2], d[3]};
  __syncthreads();

  // Output (row, token) is d[token % 2 + 2 * (row / 8)] of lane 4 (row % 8) + token / 2.
  const int r = threadIdx.x % kMmaRows, token = threadIdx.x / kMmaRows;
  const std::int64_t out = std::int64_t{blockIdx.x} * kMmaRows + r;
  if (token >= p.tokens || out >= p.rows) return;
  float sum = 0;
  for (int i = 0; i < kMmaWarps; ++i)
    sum += reinterpret_cast<const float*>(&sums[i][4 * (r % 8) + token / 2])[token % 2 + r / 8 * 2];
  store_half<kType>(p.y, token * p.rows + out, sum);
}

// ---- f32

constexpr int kF32Warps = 8;
constexpr int kF32Rows = 8;
constexpr int kF32Cols = 4 * kWarpSize;  // of a warp's step

__device__ inline void load_weights(float4 (&loads)[kF32Rows], const float* w, std::int64_t row,
                                    std::int64_t col, const GemvArguments& p) {
#pragma unroll
  for (int r = 0; r < kF32Rows; ++r)
    loads[r] =
        col < p.cols
            ? __ldcs(reinterpret_cast<const float4*>(w + min(row + r, p.rows - 1) * p.cols + col))
            : float4{};
}

__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(~0u, value, distance);
  return value;
}

template <int kTokens>
__global__ void __launch_bounds__(kF32Warps* kWarpSize, kTokens < 8 ? 3 : 2)
    gemv_f32(const GemvArguments p) {
  __shared__ float sums[kF32Warps][kF32Rows * kTokens];
  allow_next_kernel();
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const std::int64_t row = std::int64_t{blockIdx.x} * kF32Rows;
  const auto* w = static_cast<const float*>(p.w);
  const auto* x = static_cast<const float*>(p.x);

  float d[kF32Rows][kTokens] = {};
  std::int64_t col = warp * kF32Cols + lane * 4;
  float4 loads[kF32Rows];
  load_weights(loads, w, row, col, p);
  wait_for_last_kernel();
  while (col < p.cols) {
#pragma unroll
    for (int token = 0; token < kTokens; ++token) {
      if (token >= p.tokens) break;
      const float4 b = __ldg(reinterpret_cast<const float4*>(x + token * p.cols + col));
#pragma unroll
      for (int r = 0; r < kF32Rows; ++r) {
        const float4& a = loads[r];
        d[r][token] += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
      }
    }
    col += kF32Warps * kF32Cols;
    load_weights(loads, w, row, col, p);
  }
#pragma unroll
  for (int i = 0; i < kF32Rows * kTokens; ++i) {
    const float sum = warp_sum(d[i % kF32Rows][i / kF32Rows]);
    if (lane == 0) sums[warp][i] = sum;
  }
  __syncthreads();

  const int r = threadIdx.x % kF32Rows, token = threadIdx.x / kF32Rows;
  if (token >= p.tokens || row + r >= p.rows) return;
  float sum = 0;
  for (int i = 0; i < kF32Warps; ++i) sum += sums[i][threadIdx.x];
  static_cast<float*>(p.y)[token * p.rows + row + r] = sum;
}

unsigned tiles(std::int64_t rows, int tile) {
  return static_cast<unsigned>((rows + tile - 1) / tile);
}

template <int kTokens>
void launch_f32(const GemvArguments& p, cudaStream_t stream) {
  if (kTokens < 8 && p.tokens > kTokens)
    launch_f32 < kTokens<8 ? 2 * kTokens : kTokens>(p, stream);
  else
    launch_overlapping(gemv_f32<kTokens>, tiles(p.rows, kF32Rows), kF32Warps * kWarpSize, stream,
                       p);
}

}  // namespace

void launch_gemv(Dtype dtype, const GemvArguments& p, cudaStream_t stream) {
  constexpr int kThreads = kMmaWarps * kWarpSize;
  if (dtype == Dtype::f32)
    launch_f32<1>(p, stream);
  else if (dtype == Dtype::f16)
    launch_overlapping(gemv_mma<Dtype::f16>, tiles(p.rows, kMmaRows), kThreads, stream, p);
  else
    launch_overlapping(gemv_mma<Dtype::bf16>, tiles(p.rows, kMmaRows), kThreads, stream, p);
}

}  // namespace coppice::bench
