// One pass over the outputs, 16 bytes a thread at a time: reads the sums (and a residual or
// factor), writes y, at the rate of a copy.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/element/output.h"
#include "cuda/kernels/values.h"
#include "cuda/unpack/finish.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;

template <Dtype kType>
inline constexpr int kRun = kType == Dtype::f32 ? 4 : 8;  // elements of 16 bytes

/// `here` elements from `index` on.
template <Dtype kType>
__device__ inline void load_run(const void* data, std::int64_t index, int here, bool wide,
                                float (&v)[kRun<kType>]) {
  if (wide && here == kRun<kType>) {
    if constexpr (kType == Dtype::f32) {
      const float4 raw = *reinterpret_cast<const float4*>(static_cast<const float*>(data) + index);
      v[0] = raw.x, v[1] = raw.y, v[2] = raw.z, v[3] = raw.w;
    } else {
      const Values values = unpack<kType>(
          *reinterpret_cast<const uint4*>(static_cast<const std::uint16_t*>(data) + index));
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = values.v[i];
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kRun<kType>; ++i) v[i] = i < here ? load_value<kType>(data, index + i) : 0;
}

template <Dtype kType>
__device__ inline void store_run(void* data, std::int64_t index, int here, bool wide,
                                 const float (&v)[kRun<kType>]) {
  if (wide && here == kRun<kType>) {
    if constexpr (kType == Dtype::f32)
      *reinterpret_cast<float4*>(static_cast<float*>(data) + index) =
          make_float4(v[0], v[1], v[2], v[3]);
    else
      *reinterpret_cast<uint4*>(static_cast<std::uint16_t*>(data) + index) =
          pack<kType>({{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]}});
    return;
  }
#pragma unroll
  for (int i = 0; i < kRun<kType>; ++i)
    if (i < here) store_value<kType>(data, index + i, v[i]);
}

/// A line is a token of token-major outputs, or a row of feature-major ones.
template <Dtype kType, Dtype kOut>
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const __grid_constant__ FinishArguments p) {
  constexpr int kCount = kRun<kOut>;
  const EpilogueArguments& e = p.epilogue;
  const int lines = e.token_major ? p.tokens : p.rows, width = e.token_major ? p.rows : p.tokens;
  const int parts = (width + kThreads * kCount - 1) / (kThreads * kCount);
  const auto bias_of = [&](int row) {
    return e.f32_bias ? static_cast<const float*>(e.bias)[row] : load_value<kType>(e.bias, row);
  };
  for (std::int64_t item = blockIdx.x; item < std::int64_t{lines} * parts; item += gridDim.x) {
    const int line = static_cast<int>(item / parts);
    const int first = (static_cast<int>(item % parts) * kThreads + threadIdx.x) * kCount;
    const int here = min(kCount, width - first);
    if (here <= 0) continue;
    float v[kCount];
    load_run<kOut>(p.sums, line * p.sums_stride + first, here, p.wide, v);
    if (e.bias != nullptr) {
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        if (i < here) v[i] += bias_of(e.token_major ? first + i : line);
    }
    activate(e.activation, v);
    const std::int64_t at = line * e.y_stride + first;
    if (e.residual != nullptr) {
      float other[kCount];
      load_run<kOut>(e.residual, at, here, p.wide, other);
#pragma unroll
      for (int i = 0; i < kCount; ++i) v[i] = combine(e, v[i], other[i]);
    }
    store_run<kOut>(e.y, at, here, p.wide, v);
  }
}

}  // namespace

void launch_finish(FinishArguments p, Dtype type, cudaStream_t stream) {
  const EpilogueArguments& e = p.epilogue;
  const auto aligned = [](const void* data) {
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
  };
  const bool f32 = e.f32_out || type == Dtype::f32;
  const int run = f32 ? 4 : 8;
  p.wide = aligned(e.y) && aligned(e.residual) && aligned(p.sums) && e.y_stride % run == 0 &&
           p.sums_stride % run == 0;
  const std::int64_t lines = e.token_major ? p.tokens : p.rows;
  const std::int64_t width = e.token_major ? p.rows : p.tokens;
  const std::int64_t items = lines * ((width + kThreads * run - 1) / (kThreads * run));
  if (items == 0) return;
  const auto kernel = type == Dtype::f32   ? finish_kernel<Dtype::f32, Dtype::f32>
                      : type == Dtype::f16 ? f32 ? finish_kernel<Dtype::f16, Dtype::f32>
                                                 : finish_kernel<Dtype::f16, Dtype::f16>
                      : f32 ? finish_kernel<Dtype::bf16, Dtype::f32>
                                           : finish_kernel<Dtype::bf16, Dtype::bf16>;
  const auto grid = static_cast<unsigned>(std::min<std::int64_t>(items, std::int64_t{1} << 30));
  kernel<<<grid, kThreads, 0, stream>>>(p);
  check(cudaGetLastError(), "launching the end of a product");
}

}  // namespace coppice::cuda
