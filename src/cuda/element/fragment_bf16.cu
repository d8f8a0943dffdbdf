#include "cuda/element/fragment_launch.h"

namespace coppice::cuda {

void launch_fragments_bf16(const FragmentArguments& arguments, int form, int tile, bool clusters,
                           cudaStream_t stream) {
  launch_fragments_form<Dtype::bf16>(arguments, form, tile, clusters, stream);
}

}  // namespace coppice::cuda
