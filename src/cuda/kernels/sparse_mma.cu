#include <algorithm>

#include "cuda/kernels/sparse_mma.h"
#include "cuda/kernels/sparse_mma_launch.h"

namespace coppice::cuda {

void launch_sparse_mma(const MmaShape& shape, Dtype type, const ProductArguments& arguments,
                       const DeviceInfo& device, cudaStream_t stream) {
  const MmaKernel& kernel = shape.config();
  const int tiles = arguments.row_tile_count * arguments.token_tile_count;
  const mma::Launch launch{std::min(tiles, device.multiprocessors * kernel.thread_blocks()),
                           mma::shared_bytes(kernel, shape.stage_rows, shape.stages), stream};
  const auto launch_typed = type == Dtype::f16 ? mma::launch_f16 : mma::launch_bf16;
  launch_typed(shape.kernel, launch, arguments);
}

}  // namespace coppice::cuda
