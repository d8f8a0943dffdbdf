// Before the kernel: what they make special of its parts.
#include "cuda/kernels/expand_ordered_consume.h"
#include "cuda/kernels/expand_ordered_produce.h"
//
#include "cuda/kernels/wgmma_kernel.h"

namespace coppice::cuda {

void launch_expanded_in_order(int shape, bool token_major, Dtype type,
                              const ProductArguments& arguments, const DeviceInfo& device,
                              cudaStream_t stream) {
  if (token_major)
    launch_shape<Source::sixteens_token_major>(shape, type, arguments, device, stream);
  else
    launch_shape<Source::sixteens>(shape, type, arguments, device, stream);
}

}  // namespace coppice::cuda
