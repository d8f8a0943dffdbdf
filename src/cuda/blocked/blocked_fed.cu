#include "cuda/blocked/blocked_fed_kernel.h"
#include "cuda/blocked/blocked_product.h"
#include "cuda/blocked/blocked_table.h"
#include "cuda/launch.h"

namespace coppice::cuda {
namespace {

struct Unit {
  static constexpr bool has(const BlockedShape& s) { return s.fed(); }

  template <int kNumber>
  static void launch(const BlockedArguments& p, cudaStream_t stream) {
    constexpr BlockedShape kShape = kBlockedShapes[kNumber];
    cuda::launch(blocked_fed_kernel<kNumber>, tile_launch(kShape, p, kShape.shared_bytes(1)),
                 stream, "launching a product of many tokens", p);
  }
};

}  // namespace

void launch_blocked_fed(int shape, const BlockedArguments& p, cudaStream_t stream) {
  launch_blocked_shape<Unit>(shape, p, stream);
}

}  // namespace coppice::cuda
