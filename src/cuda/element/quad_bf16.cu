#include "cuda/element/quad_launch.h"

namespace coppice::cuda {

void launch_quads_bf16(const QuadArguments& arguments, int form, int tile, cudaStream_t stream) {
  launch_quads<Dtype::bf16>(arguments, form, tile, stream);
}
void launch_quad_rings_bf16(const QuadRingArguments& arguments, int form, int tile,
                            cudaStream_t stream) {
  launch_quad_rings<Dtype::bf16>(arguments, form, tile, stream);
}

}  // namespace coppice::cuda
