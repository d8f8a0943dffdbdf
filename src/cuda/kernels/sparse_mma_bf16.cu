// The mma kernels for bf16.
#include "cuda/kernels/sparse_mma_launch.h"

namespace coppice::cuda::mma {

void launch_bf16(int kernel, const Launch& launch, const ProductArguments& arguments) {
  launch_all<Dtype::bf16>(kernel, launch, arguments);
}

}  // namespace coppice::cuda::mma
