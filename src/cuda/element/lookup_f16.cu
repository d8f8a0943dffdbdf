#include "cuda/element/lookup_launch.h"

namespace coppice::cuda {

void launch_lookup_f16(const ElementArguments& arguments, int form, int tile, bool clusters,
                       cudaStream_t stream) {
  launch_lookup_form<Dtype::f16>(arguments, form, tile, clusters, stream);
}

}  // namespace coppice::cuda
