// Launches of the decode kernels (decode_kernel.h). Host side.
#pragma once

#include <cuda_runtime.h>

#include "cuda/kernels/decode_arguments.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// `a`: all but what follows from the first product. `lists`: of columns in a block of 64 rows; 0:
/// all columns are alive in order.
void launch_decode(DecodeArguments a, Dtype type, int lists, const DeviceInfo& device,
                   cudaStream_t stream);

}  // namespace coppice::cuda
