#include "cuda/element/quad_launch.h"

namespace coppice::cuda {

void launch_quads_f16(const QuadArguments& arguments, int form, int tile, cudaStream_t stream) {
  launch_quads<Dtype::f16>(arguments, form, tile, stream);
}
void launch_quad_rings_f16(const QuadRingArguments& arguments, int form, int tile,
                           cudaStream_t stream) {
  launch_quad_rings<Dtype::f16>(arguments, form, tile, stream);
}

}  // namespace coppice::cuda
