#include "cuda/kernels/wgmma_kernel.h"

namespace coppice::cuda {

void launch_wgmma_feature_major(int shape, Dtype type, const ProductArguments& arguments,
                                const DeviceInfo& device, cudaStream_t stream) {
  launch_shape<Source::feature_major>(shape, type, arguments, device, stream);
}

void launch_wgmma_token_major(int shape, Dtype type, const ProductArguments& arguments,
                              const DeviceInfo& device, cudaStream_t stream) {
  launch_shape<Source::token_major>(shape, type, arguments, device, stream);
}

}  // namespace coppice::cuda
