// Launchers of kept.cu: what cuda_gradient.h promises, unchecked, for at least one value.
#pragma once

#include <cuda_runtime.h>

#include "coppice/cuda_gradient.h"

namespace coppice::cuda {

void launch_scatter_kept(const KeptDeviceView& kept, const void* values, Dtype values_dtype,
                         void* dense, Dtype dense_dtype, cudaStream_t stream);
void launch_gather_kept(const KeptDeviceView& kept, const void* dense, Dtype dense_dtype,
                        void* values, Dtype values_dtype, cudaStream_t stream);

}  // namespace coppice::cuda
