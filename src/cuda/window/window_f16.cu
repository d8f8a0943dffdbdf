// The window kernels for f16.
#include "cuda/window/window_launch.h"

namespace coppice::cuda {

void launch_window_f16(const WindowLaunch& how, const WindowArguments& p, const CUtensorMap& x,
                       cudaStream_t stream) {
  launch_window_type<Dtype::f16>(how, p, x, stream);
}

}  // namespace coppice::cuda
