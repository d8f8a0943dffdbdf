// What the translation units of the mma kernels share: one for each type, so that they compile side
// by side.
#pragma once

#include <array>
#include <utility>

#include "cuda/check.h"
#include "cuda/kernels/sparse_mma_kernel.h"

namespace coppice::cuda::mma {

struct Launch {
  int thread_blocks, shared_bytes;
  cudaStream_t stream;
};

void launch_f16(int kernel, const Launch& launch, const ProductArguments& arguments);
void launch_bf16(int kernel, const Launch& launch, const ProductArguments& arguments);

template <int kIndex, Dtype kType>
void launch_one(const Launch& launch, const ProductArguments& arguments) {
  const auto kernel = sparse_mma_kernel<kIndex, kType>;
  allow_shared_memory(kernel, launch.shared_bytes);
  kernel<<<launch.thread_blocks, kMmaKernels[kIndex].threads(), launch.shared_bytes,
           launch.stream>>>(arguments);
  check(cudaGetLastError(), "launching a sparse mma product");
}

template <Dtype kType>
void launch_all(int kernel, const Launch& launch, const ProductArguments& arguments) {
  using Function = void (*)(const Launch&, const ProductArguments&);
  constexpr auto kTable = []<int... kIndex>(std::integer_sequence<int, kIndex...>) {
    return std::array<Function, kMmaKernels.size()>{launch_one<kIndex, kType>...};
  }
  (std::make_integer_sequence<int, static_cast<int>(kMmaKernels.size())>());
  kTable[static_cast<std::size_t>(kernel)](launch, arguments);
}

}  // namespace coppice::cuda::mma
