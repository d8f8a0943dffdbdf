#include "cuda/element/held_launch.h"

namespace coppice::cuda {

void launch_held_bf16(const HeldArguments& arguments, int form, int tile_tokens,
                      cudaStream_t stream) {
  launch_held_form<Dtype::bf16>(arguments, form, tile_tokens, stream);
}

}  // namespace coppice::cuda
