#include "cuda/kernels/sparse_wgmma.h"

namespace coppice::cuda {

void launch_sparse_wgmma(int shape, bool token_major, Dtype type, const ProductArguments& arguments,
                         const DeviceInfo& device, cudaStream_t stream) {
  if (arguments.columns.data != nullptr)
    launch_wgmma_gathered(shape, type, arguments, device, stream);
  else if (token_major)
    launch_wgmma_token_major(shape, type, arguments, device, stream);
  else
    launch_wgmma_feature_major(shape, type, arguments, device, stream);
}

void launch_dense_wgmma(int shape, bool token_major, Dtype type, const ProductArguments& arguments,
                        const DeviceInfo& device, cudaStream_t stream) {
  (token_major ? launch_dense_token_major : launch_dense_feature_major)(shape, type, arguments,
                                                                        device, stream);
}

}  // namespace coppice::cuda
