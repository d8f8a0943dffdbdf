#include "cuda/kernels/wgmma_kernel.h"

namespace coppice::cuda {

void launch_dense_feature_major(int shape, Dtype type, const ProductArguments& arguments,
                                const DeviceInfo& device, cudaStream_t stream) {
  launch_shape<Source::gathered, true>(shape, type, arguments, device, stream);
}

}  // namespace coppice::cuda
