#include <algorithm>

#include "cuda/blocked/blocked_product.h"
#include "cuda/blocked/blocked_table.h"
#include "cuda/blocked/blocked_wgmma_kernel.h"
#include "cuda/kernels/values_map.h"
#include "cuda/launch.h"

namespace coppice::cuda {
namespace {

struct Unit {
  static constexpr bool has(const BlockedShape& s) { return s.warpgroups(); }

  template <int kNumber>
  static void launch(const BlockedArguments& p, int multiprocessors, cudaStream_t stream) {
    constexpr BlockedShape kShape = kBlockedShapes[kNumber];
    LaunchShape shape;
    shape.grid =
        dim3(static_cast<unsigned>(std::min(p.row_tiles * p.token_tiles, multiprocessors)));
    shape.threads = kShape.threads();
    shape.shared_bytes = kShape.shared_bytes(1);
    CUtensorMap values = {};
    if constexpr (kShape.boxes())
      values = rounded_values_map(p.weight.values, 2 * p.weight.layout.units(),
                                  p.weight.layout.pieces, kShape.half_units());
    cuda::launch(blocked_sparse_wgmma_kernel<kNumber>, shape, stream,
                 "launching a product of many tokens", p, values);
  }
};

}  // namespace

void launch_blocked_wgmma(int shape, const BlockedArguments& p, int multiprocessors,
                          cudaStream_t stream) {
  launch_blocked_shape<Unit>(shape, p, multiprocessors, stream);
}

}  // namespace coppice::cuda
