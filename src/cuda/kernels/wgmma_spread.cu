#include "cuda/kernels/wgmma_kernel.h"

namespace coppice::cuda {

void launch_spread_wgmma(int shape, Dtype type, const ProductArguments& arguments,
                         const DeviceInfo& device, cudaStream_t stream) {
  launch_shape<Source::spread>(shape, type, arguments, device, stream);
}

}  // namespace coppice::cuda
