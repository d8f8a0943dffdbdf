// y = w x for 1 to 8 tokens, bound by the bytes of w: every byte is loaded once, in 16-byte loads,
// 8 of them in flight in every thread, and the first ones before the kernel before has ended.
//
// Rows on CUDA cores (f32; 16 bits up to 4 tokens): a group of 8 warps has 8 rows, a warp loads 512
// contiguous bytes of each, and lanes add up by shuffles. Few streams of long pieces are what
// memory likes best: 99 % of the ceiling for f32 (H200, 28672 x 8192). Tensor cores (16 bits, 5 to
// 8 tokens, which would be too much to convert and add): a thread block has 16 rows, its warps
// share their columns. Lane 4g+t of a warp loads 8 columns of rows g and g+8, and the same columns
// of token g, which are the fragments of two products of 16 columns each (which column is called
// which k does not matter as long as both sides agree). Sums of warps meet in shared memory, in
// order.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "bench/cuda/gemv.h"
#include "bench/cuda/overlap.h"
#include "cuda/ptx/mma.h"

namespace coppice::bench {
namespace {

constexpr int kWarpSize = 32;

__device__ inline uint4 load_once(const void* p) { return __ldcs(static_cast<const uint4*>(p)); }

__device__ inline void store(float* y, float value) { *y = value; }
__device__ inline void store(__half* y, float value) { *y = __float2half(value); }
__device__ inline void store(__nv_bfloat16* y, float value) { *y = __float2bfloat16(value); }

// ---- tensor cores

constexpr int kMmaWarps = 8;
constexpr int kMmaRows = 16;
constexpr int kMmaCols = 32;  // of a step: two products
constexpr int kMmaSteps = 4;  // loaded together: 256 bytes of each row

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

template <typename T>
__global__ void __launch_bounds__(kMmaWarps* kWarpSize, 4) gemv_mma(const GemvArguments p) {
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
      constexpr Dtype kType = std::is_same_v<T, __half> ? Dtype::f16 : Dtype::bf16;
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
  store(static_cast<T*>(p.y) + token * p.rows + out, sum);
}

// ---- rows on CUDA cores

constexpr int kRowWarps = 8;  // that share the columns of a group of rows
constexpr int kRows = 8;      // of a group

// Of many tokens the activations weigh as much as the weights: two groups of rows share them
// through the L1 cache, which the weights then leave alone.
constexpr int row_groups(int tokens) { return tokens > 4 ? 2 : 1; }
constexpr int row_threads(int tokens) { return row_groups(tokens) * kRowWarps * kWarpSize; }
constexpr int row_blocks(int tokens) { return tokens > 4 ? 1 : tokens > 1 ? 2 : 3; }
constexpr int kBatch = 4;  // tokens whose activations are loaded together

template <typename T>
constexpr int kPieceCols = 16 / sizeof(T);

// The numbers in 16 bytes.
__device__ inline void unpack(const uint4& piece, float (&out)[4]) {
  out[0] = __uint_as_float(piece.x);
  out[1] = __uint_as_float(piece.y);
  out[2] = __uint_as_float(piece.z);
  out[3] = __uint_as_float(piece.w);
}
template <typename T>
__device__ inline void unpack(const uint4& piece, float (&out)[8]) {
  const std::uint32_t words[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float2 pair;
    if constexpr (std::is_same_v<T, __half>) {
      __half2 halves;
      memcpy(&halves, &words[i], sizeof halves);
      pair = __half22float2(halves);
    } else {
      pair = {__uint_as_float(words[i] << 16), __uint_as_float(words[i] & 0xffff0000u)};
    }
    out[2 * i] = pair.x;
    out[2 * i + 1] = pair.y;
  }
}
template <typename T>
__device__ inline void unpack_piece(const uint4& piece, float (&out)[kPieceCols<T>]) {
  if constexpr (sizeof(T) == 4)
    unpack(piece, out);
  else
    unpack<T>(piece, out);
}

// Of rows `offsets` elements behind the first.
template <int kTokens, typename T>
__device__ inline void load_rows(uint4 (&loads)[kRows], const T* w, const int (&offsets)[kRows],
                                 bool within) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const auto* from = reinterpret_cast<const uint4*>(w + offsets[r]);
    loads[r] = !within ? uint4{} : row_groups(kTokens) > 1 ? __ldcg(from) : load_once(from);
  }
}

// d += loads * x for the tokens from kFirst on.
template <int kFirst, typename T, int kTokens>
__device__ inline void multiply(float (&d)[kRows][kTokens], const uint4 (&loads)[kRows], const T* x,
                                int cols) {
  constexpr int kLeft = kTokens - kFirst, kCount = kLeft < kBatch ? kLeft : kBatch;
  float b[kCount][kPieceCols<T>];
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    unpack_piece<T>(__ldg(reinterpret_cast<const uint4*>(x + (kFirst + i) * cols)), b[i]);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float a[kPieceCols<T>];
    unpack_piece<T>(loads[r], a);
#pragma unroll
    for (int i = 0; i < kCount; ++i)
#pragma unroll
      for (int c = 0; c < kPieceCols<T>; ++c)
        d[r][kFirst + i] = fmaf(a[c], b[i][c], d[r][kFirst + i]);
  }
  if constexpr (kCount < kLeft) multiply<kFirst + kCount>(d, loads, x, cols);
}

__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(~0u, value, distance);
  return value;
}

template <typename T, int kTokens>
__global__ void __launch_bounds__(row_threads(kTokens), row_blocks(kTokens))
    gemv_rows(const GemvArguments p) {
  constexpr int kSums = kRows * kTokens, kGroups = row_groups(kTokens);
  constexpr int kLaneCols = kPieceCols<T>, kWarpCols = kWarpSize * kLaneCols;
  __shared__ float sums[kGroups][kRowWarps][kSums];
  allow_next_kernel();
  const int lane = threadIdx.x % kWarpSize;
  const int warp = threadIdx.x / kWarpSize % kRowWarps;
  const int group = threadIdx.x / kWarpSize / kRowWarps;
  const std::int64_t row = (std::int64_t{blockIdx.x} * kGroups + group) * kRows;
  const T* w = static_cast<const T*>(p.w) + min(row, p.rows - 1) * p.cols;
  const auto* x = static_cast<const T*>(p.x);
  const int cols = static_cast<int>(p.cols);
  // Rows past the end are read as the last one, and not stored.
  int offsets[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    offsets[r] = max(0, static_cast<int>(min(p.rows - 1 - row, std::int64_t{r}))) * cols;

  float d[kRows][kTokens] = {};
  int col = warp * kWarpCols + lane * kLaneCols;
  uint4 loads[kRows];
  load_rows<kTokens>(loads, w + col, offsets, col < cols);
  wait_for_last_kernel();
  while (col < cols) {
    multiply<0>(d, loads, x + col, cols);
    col += kRowWarps * kWarpCols;
    load_rows<kTokens>(loads, w + col, offsets, col < cols);
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    const float sum = warp_sum(d[i % kRows][i / kRows]);
    if (lane == 0) sums[group][warp][i] = sum;
  }
  __syncthreads();

  for (int i = threadIdx.x; i < kGroups * kSums; i += row_threads(kTokens)) {
    const int of = i / kSums, at = i % kSums;
    const std::int64_t out = (std::int64_t{blockIdx.x} * kGroups + of) * kRows + at % kRows;
    if (out >= p.rows) continue;
    float sum = 0;
    for (int j = 0; j < kRowWarps; ++j) sum += sums[of][j][at];
    store(static_cast<T*>(p.y) + at / kRows * p.rows + out, sum);
  }
}

unsigned tiles(std::int64_t rows, int tile) {
  return static_cast<unsigned>((rows + tile - 1) / tile);
}

template <typename T, int kTokens = 1>
void launch(const GemvArguments& p, cudaStream_t stream) {
  constexpr int kMostTokens = sizeof(T) == 4 ? kGemvTokens : 4;
  if (p.tokens > kMostTokens) {
    if constexpr (sizeof(T) == 2)
      launch_overlapping(gemv_mma<T>, tiles(p.rows, kMmaRows), kMmaWarps * kWarpSize, stream, p);
  } else if (p.tokens > kTokens) {
    if constexpr (kTokens < kMostTokens) launch<T, kTokens + 1>(p, stream);
  } else {
    launch_overlapping(gemv_rows<T, kTokens>, tiles(p.rows, row_groups(kTokens) * kRows),
                       row_threads(kTokens), stream, p);
  }
}

}  // namespace

void launch_gemv(Dtype dtype, const GemvArguments& p, cudaStream_t stream) {
  if (dtype == Dtype::f32)
    launch<float>(p, stream);
  else if (dtype == Dtype::f16)
    launch<__half>(p, stream);
  else
    launch<__nv_bfloat16>(p, stream);
}

}  // namespace coppice::bench
