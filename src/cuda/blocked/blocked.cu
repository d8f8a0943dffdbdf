#include "cuda/blocked/blocked_kernel.h"
#include "cuda/blocked/blocked_product.h"
#include "cuda/blocked/blocked_table.h"
#include "cuda/blocked/blocked_window_kernel.h"
#include "cuda/launch.h"

namespace coppice::cuda {
namespace {

struct Unit {
  static constexpr bool has(const BlockedShape& s) { return !s.warpgroups() && !s.fed(); }

  template <int kNumber>
  static void launch(const BlockedArguments& p, cudaStream_t stream) {
    constexpr BlockedShape kShape = kBlockedShapes[kNumber];
    constexpr const char* kDoing = "launching a product of many tokens";
    if constexpr (kShape.windowed())
      cuda::launch(short_vectors_kernel<kNumber>,
                   tile_launch(kShape, p, p.window.shared_bytes(kShape)), stream, kDoing, p);
    else
      cuda::launch(blocked_kernel<kNumber>, tile_launch(kShape, p, kShape.shared_bytes(p.lists)),
                   stream, kDoing, p);
  }
};

}  // namespace

void launch_blocked(int shape, const BlockedArguments& p, cudaStream_t stream) {
  launch_blocked_shape<Unit>(shape, p, stream);
}

}  // namespace coppice::cuda
