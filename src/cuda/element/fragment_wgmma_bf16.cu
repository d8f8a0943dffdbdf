#include "cuda/element/fragment_wgmma_launch.h"

namespace coppice::cuda {

void launch_wgmma_fragments_bf16(const FragmentArguments& arguments, int tile,
                                 cudaStream_t stream) {
  launch_wgmma_tile<Dtype::bf16>(arguments, tile, stream);
}

}  // namespace coppice::cuda
