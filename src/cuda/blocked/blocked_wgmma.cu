#include <algorithm>
#include <array>
#include <utility>

#include "cuda/blocked/blocked_product.h"
#include "cuda/blocked/blocked_wgmma_kernel.h"
#include "cuda/kernels/values_map.h"
#include "cuda/launch.h"

namespace coppice::cuda {
namespace {

using Function = void (*)(const BlockedArguments&, int, cudaStream_t);

template <int kNumber>
void launch_one(const BlockedArguments& p, int multiprocessors, cudaStream_t stream) {
  constexpr BlockedShape kShape = kBlockedShapes[kNumber];
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(std::min(p.row_tiles * p.token_tiles, multiprocessors)));
  shape.threads = kShape.threads();
  shape.shared_bytes = kShape.shared_bytes(1);
  CUtensorMap values = {};
  if constexpr (kShape.boxes())
    values = rounded_values_map(p.weight.values, 2 * p.weight.layout.units(),
                                p.weight.layout.pieces, kShape.half_units());
  launch(blocked_sparse_wgmma_kernel<kNumber>, shape, stream, "launching a product of many tokens",
         p, values);
}

// None for those of blocked.cu and blocked_fed.cu.
template <int kNumber>
constexpr Function launcher() {
  if constexpr (kBlockedShapes[kNumber].warpgroups())
    return launch_one<kNumber>;
  else
    return nullptr;
}

}  // namespace

void launch_blocked_wgmma(int shape, const BlockedArguments& p, int multiprocessors,
                          cudaStream_t stream) {
  constexpr auto kTable = []<int... kNumber>(std::integer_sequence<int, kNumber...>) {
    return std::array<Function, kBlockedShapes.size()>{launcher<kNumber>()...};
  }
  (std::make_integer_sequence<int, static_cast<int>(kBlockedShapes.size())>());
  kTable[static_cast<std::size_t>(shape)](p, multiprocessors, stream);
}

}  // namespace coppice::cuda
