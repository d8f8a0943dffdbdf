#include "cuda/element/fragment_wgmma_launch.h"

namespace coppice::cuda {

void launch_wgmma_fragments_bf16(const FragmentArguments& arguments, int form, int tile,
                                 cudaStream_t stream) {
  launch_wgmma_form<Dtype::bf16>(arguments, form, tile, stream);
}

}  // namespace coppice::cuda
