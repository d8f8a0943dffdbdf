// What the translation units of the decode kernels share: one for each type, so that they compile
// side by side.
#pragma once

#include "cuda/kernels/decode_kernel.h"
#include "cuda/kernels/decode_ring_kernel.h"
#include "cuda/launch.h"

namespace coppice::cuda::decode {

struct Launch {
  int lists;
  dim3 grid;
  int shared_bytes;
  bool overlaps;  ///< clusters, and programmatic dependent launch
  cudaStream_t stream;
};

void launch_f16(const Launch& launch, const DecodeArguments& a);
void launch_bf16(const Launch& launch, const DecodeArguments& a);

template <int kTokens, Dtype kType, int kLists>
void launch_one(const Launch& launch, const DecodeArguments& a) {
  const auto kernel = decode_kernel<kTokens, kType, kLists>;
  const LaunchShape shape = {.grid = launch.grid,
                             .threads = a.shape.threads(),
                             .shared_bytes = launch.shared_bytes,
                             .cluster = launch.overlaps ? a.shape.cluster : 1,
                             .overlaps = launch.overlaps};
  cuda::launch(kernel, shape, launch.stream, "launching a decode product", a);
}

template <Dtype kType, int kTokens>
void launch_tokens(const Launch& launch, const DecodeArguments& a) {
  if (launch.lists == 0) return launch_one<kTokens, kType, 0>(launch, a);
  if (launch.lists == 1) return launch_one<kTokens, kType, 1>(launch, a);
  if (launch.lists == 2) return launch_one<kTokens, kType, 2>(launch, a);
  launch_one<kTokens, kType, 4>(launch, a);
}

template <Dtype kType, int kPanels, bool kListed>
void launch_ring(const Launch& launch, const DecodeArguments& a) {
  const LaunchShape shape = {.grid = launch.grid,
                             .threads = a.shape.threads(),
                             .shared_bytes = launch.shared_bytes,
                             .overlaps = launch.overlaps};
  cuda::launch(ring_kernel<kPanels, kType, kListed>, shape, launch.stream,
               "launching a decode product by rings", a);
}

template <Dtype kType>
void launch_all(const Launch& launch, const DecodeArguments& a) {
  if (is_ring(a.shape)) {
    if (launch.lists > 0) return launch_ring<kType, 1, true>(launch, a);
    return a.shape.tokens == 8 ? launch_ring<kType, 1, false>(launch, a)
                               : launch_ring<kType, 2, false>(launch, a);
  }
  if (a.shape.tokens == 8) return launch_tokens<kType, 8>(launch, a);
  if (a.shape.tokens == 16) return launch_tokens<kType, 16>(launch, a);
  if (a.shape.tokens == 32) return launch_tokens<kType, 32>(launch, a);
  launch_tokens<kType, 64>(launch, a);
}

}  // namespace coppice::cuda::decode
