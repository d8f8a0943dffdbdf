// The window kernels for bf16.
#include "cuda/window/window_launch.h"

namespace coppice::cuda {

void launch_window_bf16(const WindowLaunch& how, const WindowArguments& p, const CUtensorMap& x,
                        cudaStream_t stream) {
  launch_window_type<Dtype::bf16>(how, p, x, stream);
}

}  // namespace coppice::cuda
