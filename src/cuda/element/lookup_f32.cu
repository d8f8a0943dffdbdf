#include "cuda/element/lookup_launch.h"

namespace coppice::cuda {

void launch_lookup_f32(const ElementArguments& arguments, int form, int tile, bool clusters,
                       cudaStream_t stream) {
  launch_lookup_form<Dtype::f32>(arguments, form, tile, clusters, stream);
}

}  // namespace coppice::cuda
