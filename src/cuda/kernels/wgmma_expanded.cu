#include "cuda/kernels/wgmma_kernel.h"

namespace coppice::cuda {

void launch_expanded_wgmma(int shape, Dtype type, const ProductArguments& arguments,
                           const DeviceInfo& device, cudaStream_t stream) {
  if (arguments.columns.group == 5)
    launch_shape<Source::fives>(shape, type, arguments, device, stream);
  else
    launch_shape<Source::eights>(shape, type, arguments, device, stream);
}

}  // namespace coppice::cuda
