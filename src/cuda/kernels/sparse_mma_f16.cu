// The mma kernels for f16.
#include "cuda/kernels/sparse_mma_launch.h"

namespace coppice::cuda::mma {

void launch_f16(int kernel, const Launch& launch, const ProductArguments& arguments) {
  launch_all<Dtype::f16>(kernel, launch, arguments);
}

}  // namespace coppice::cuda::mma
