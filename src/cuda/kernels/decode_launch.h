// What the translation units of the decode kernels share: one for each type, so that they compile
// side by side.
#pragma once

#include "cuda/check.h"
#include "cuda/kernels/decode_kernel.h"

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
  allow_shared_memory(kernel, launch.shared_bytes);
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {static_cast<unsigned>(a.shape.cluster), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = launch.grid;
  config.blockDim = dim3(static_cast<unsigned>(a.shape.threads()));
  config.dynamicSmemBytes = static_cast<std::size_t>(launch.shared_bytes);
  config.stream = launch.stream;
  config.attrs = attributes;
  config.numAttrs = !launch.overlaps ? 0 : a.shape.cluster > 1 ? 2 : 1;
  check(cudaLaunchKernelEx(&config, kernel, a), "launching a decode product");
}

template <Dtype kType, int kTokens>
void launch_tokens(const Launch& launch, const DecodeArguments& a) {
  if (launch.lists == 0) return launch_one<kTokens, kType, 0>(launch, a);
  if (launch.lists == 1) return launch_one<kTokens, kType, 1>(launch, a);
  if (launch.lists == 2) return launch_one<kTokens, kType, 2>(launch, a);
  launch_one<kTokens, kType, 4>(launch, a);
}

template <Dtype kType>
void launch_all(const Launch& launch, const DecodeArguments& a) {
  if (a.shape.tokens == 8) return launch_tokens<kType, 8>(launch, a);
  if (a.shape.tokens == 16) return launch_tokens<kType, 16>(launch, a);
  if (a.shape.tokens == 32) return launch_tokens<kType, 32>(launch, a);
  launch_tokens<kType, 64>(launch, a);
}

}  // namespace coppice::cuda::decode
