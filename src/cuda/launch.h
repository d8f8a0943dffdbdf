// Kernel launches with what <<<>>> cannot say: clusters, and a beginning before the kernel in front
// has ended (ptx/launch.h).
#pragma once

#include <cuda_runtime.h>

#include <string_view>

#include "cuda/check.h"

namespace coppice::cuda {

struct LaunchShape {
  dim3 grid;
  int threads = 0;
  int shared_bytes = 0;
  int cluster = 1;        ///< thread blocks along x
  bool overlaps = false;  ///< programmatic dependent launch: compute capability 9.0 and later
};

/// @param doing for the error, such as "launching a product".
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, cudaStream_t stream,
            std::string_view doing, const Parameters&... arguments) {
  allow_shared_memory(kernel, shape.shared_bytes);
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes);
  config.stream = stream;
  cudaLaunchAttribute attributes[2];
  if (shape.overlaps) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.cluster > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs++].val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
  }
  config.attrs = attributes;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), doing);
}

}  // namespace coppice::cuda
