#include "cuda/element/quad_launch.h"

namespace coppice::cuda {

void launch_quads_bf16(const QuadArguments& arguments, int form, int tile, cudaStream_t stream) {
  launch_quads<Dtype::bf16>(arguments, form, tile, stream);
}

}  // namespace coppice::cuda
