// Values to their places in a dense weight and back: cuda_gradient.h.
//
// Both move bytes. A thread block scatters one row: in shared memory, which is cleared, filled in
// any order and stored 16 bytes at a time, so that every sector of the dense weight is written once
// and whole; rows wider than that go piece by piece, and read their columns again for each. Weights
// are asked for before the memory is cleared. Gathering reads through the cache: nearly every
// sector of a row holds a kept weight. Where rows start on 16 bytes a thread takes 8 weights.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/check.h"
#include "cuda/gradient/kept.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPieceBytes = 32768;
constexpr int kWide = 8;  // weights of a thread

template <typename To, typename From>
__device__ inline To converted(From value) {
  if constexpr (std::is_same_v<To, From>)
    return value;
  else
    return To(static_cast<float>(value));
}

template <typename T>
struct alignas(16) Eight {
  T item[kWide];
};

template <typename T, bool kIsWide>
struct Weights {
  static constexpr int kCount = kIsWide ? kWide : 1;
  T item[kCount];

  __device__ void load(const T* from) {
    if constexpr (kIsWide) {
      const auto eight = *reinterpret_cast<const Eight<T>*>(from);
#pragma unroll
      for (int i = 0; i < kCount; ++i) item[i] = eight.item[i];
    } else {
      item[0] = *from;
    }
  }
  __device__ void store(T* to) const {
    if constexpr (kIsWide) {
      Eight<T> eight;
#pragma unroll
      for (int i = 0; i < kCount; ++i) eight.item[i] = item[i];
      *reinterpret_cast<Eight<T>*>(to) = eight;
    } else {
      *to = item[0];
    }
  }
};

template <typename Values, typename Dense, bool kIsWide>
__global__ void __launch_bounds__(kThreads)
    scatter_kept_kernel(const KeptDeviceView kept, const Values* __restrict__ values,
                        Dense* __restrict__ dense) {
  constexpr int kPiece = kPieceBytes / static_cast<int>(sizeof(Dense));
  constexpr int kOf16 = 16 / static_cast<int>(sizeof(Dense));
  constexpr int kCount = kIsWide ? kWide : 1;
  extern __shared__ uint4 shared[];
  auto* piece = reinterpret_cast<Dense*>(shared);
  const std::int64_t row = blockIdx.x;
  const int count = static_cast<int>(kept.kept), cols = static_cast<int>(kept.cols);
  const std::uint16_t* columns = kept.columns + row * kept.kept;
  values += row * kept.kept;
  dense += row * kept.cols;
  const bool aligned = reinterpret_cast<std::uintptr_t>(dense) % 16 == 0;
  Weights<std::uint16_t, kIsWide> at;
  Weights<Values, kIsWide> value;
  const auto load = [&](int k) {
    at.load(columns + k);
    value.load(values + k);
  };
  const int mine = static_cast<int>(threadIdx.x) * kCount;
  if (mine < count) load(mine);
  for (int first = 0; first < cols; first += kPiece) {
    const int size = min(kPiece, cols - first);
    for (int i = threadIdx.x; i < (size + kOf16 - 1) / kOf16; i += kThreads)
      shared[i] = make_uint4(0, 0, 0, 0);
    __syncthreads();
    for (int k = mine; k < count; k += kThreads * kCount) {
      if (k != mine || first > 0) load(k);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int place = static_cast<int>(at.item[i]) - first;
        if (place >= 0 && place < size) piece[place] = converted<Dense>(value.item[i]);
      }
    }
    __syncthreads();
    const int whole = aligned ? size / kOf16 : 0;
    for (int i = threadIdx.x; i < whole; i += kThreads)
      reinterpret_cast<uint4*>(dense + first)[i] = shared[i];
    for (int i = whole * kOf16 + threadIdx.x; i < size; i += kThreads) dense[first + i] = piece[i];
    __syncthreads();
  }
}

template <typename Dense, typename Values, bool kIsWide>
__global__ void __launch_bounds__(kThreads)
    gather_kept_kernel(const KeptDeviceView kept, const Dense* __restrict__ dense,
                       Values* __restrict__ values) {
  constexpr int kCount = kIsWide ? kWide : 1;
  const std::int64_t k = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kCount;
  if (k >= kept.rows * kept.kept) return;
  const Dense* row = dense + k / kept.kept * kept.cols;
  Weights<std::uint16_t, kIsWide> at;
  at.load(kept.columns + k);
  Weights<Values, kIsWide> value;
#pragma unroll
  for (int i = 0; i < kCount; ++i) value.item[i] = converted<Values>(__ldg(row + at.item[i]));
  value.store(values + k);
}

// Whether a thread can take 8 weights of a row at a time.
bool is_wide(const KeptDeviceView& kept, const void* values) {
  return kept.kept % kWide == 0 && reinterpret_cast<std::uintptr_t>(values) % 16 == 0 &&
         reinterpret_cast<std::uintptr_t>(kept.columns) % 16 == 0;
}

// Calls `run` with null pointers of the two types.
template <typename Run>
void with_types(Dtype a, Dtype b, const Run& run) {
  const auto second = [&]<typename A>(const A* first) {
    if (b == Dtype::f16) return run(first, static_cast<const __half*>(nullptr));
    if (b == Dtype::bf16) return run(first, static_cast<const __nv_bfloat16*>(nullptr));
    return run(first, static_cast<const float*>(nullptr));
  };
  if (a == Dtype::f16) return second(static_cast<const __half*>(nullptr));
  if (a == Dtype::bf16) return second(static_cast<const __nv_bfloat16*>(nullptr));
  return second(static_cast<const float*>(nullptr));
}

}  // namespace

void launch_scatter_kept(const KeptDeviceView& kept, const void* values, Dtype values_dtype,
                         void* dense, Dtype dense_dtype, cudaStream_t stream) {
  const auto row_bytes =
      static_cast<std::size_t>((kept.cols * dtype_bytes(dense_dtype) + 15) / 16 * 16);
  const std::size_t bytes = row_bytes < kPieceBytes ? row_bytes : kPieceBytes;
  with_types(values_dtype, dense_dtype, [&]<typename V, typename D>(const V*, const D*) {
    const auto kernel =
        is_wide(kept, values) ? scatter_kept_kernel<V, D, true> : scatter_kept_kernel<V, D, false>;
    kernel<<<static_cast<unsigned>(kept.rows), kThreads, bytes, stream>>>(
        kept, static_cast<const V*>(values), static_cast<D*>(dense));
  });
  check(cudaGetLastError(), "launching the scattering of a weight");
}

void launch_gather_kept(const KeptDeviceView& kept, const void* dense, Dtype dense_dtype,
                        void* values, Dtype values_dtype, cudaStream_t stream) {
  with_types(dense_dtype, values_dtype, [&]<typename D, typename V>(const D*, const V*) {
    const bool wide = is_wide(kept, values);
    const auto kernel = wide ? gather_kept_kernel<D, V, true> : gather_kept_kernel<D, V, false>;
    const std::int64_t weights = std::int64_t{kThreads} * (wide ? kWide : 1);
    const auto blocks = static_cast<unsigned>((kept.rows * kept.kept + weights - 1) / weights);
    kernel<<<blocks, kThreads, 0, stream>>>(kept, static_cast<const D*>(dense),
                                            static_cast<V*>(values));
  });
  check(cudaGetLastError(), "launching the gathering of a gradient");
}

}  // namespace coppice::cuda
