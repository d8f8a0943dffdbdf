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
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(p.row_tiles) * static_cast<unsigned>(p.token_tiles));
    shape.threads = kShape.threads();
    constexpr const char* kDoing = "launching a product of many tokens";
    if constexpr (kShape.windowed()) {
      shape.shared_bytes = p.window.shared_bytes(kShape);
      cuda::launch(short_vectors_kernel<kNumber>, shape, stream, kDoing, p);
    } else {
      shape.shared_bytes = kShape.shared_bytes(p.lists);
      cuda::launch(blocked_kernel<kNumber>, shape, stream, kDoing, p);
    }
  }
};

}  // namespace

void launch_blocked(int shape, const BlockedArguments& p, cudaStream_t stream) {
  launch_blocked_shape<Unit>(shape, p, stream);
}

}  // namespace coppice::cuda
