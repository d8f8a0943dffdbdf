#include <array>
#include <utility>

#include "cuda/blocked/blocked_fed_kernel.h"
#include "cuda/blocked/blocked_product.h"
#include "cuda/launch.h"

namespace coppice::cuda {
namespace {

using Function = void (*)(const BlockedArguments&, cudaStream_t);

template <int kNumber>
void launch_one(const BlockedArguments& p, cudaStream_t stream) {
  constexpr BlockedShape kShape = kBlockedShapes[kNumber];
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(p.row_tiles) * static_cast<unsigned>(p.token_tiles));
  shape.threads = kShape.threads();
  shape.shared_bytes = kShape.shared_bytes(1);
  launch(blocked_fed_kernel<kNumber>, shape, stream, "launching a product of many tokens", p);
}

// None for those of blocked.cu and blocked_wgmma.cu.
template <int kNumber>
constexpr Function launcher() {
  if constexpr (kBlockedShapes[kNumber].fed())
    return launch_one<kNumber>;
  else
    return nullptr;
}

}  // namespace

void launch_blocked_fed(int shape, const BlockedArguments& p, cudaStream_t stream) {
  constexpr auto kTable = []<int... kNumber>(std::integer_sequence<int, kNumber...>) {
    return std::array<Function, kBlockedShapes.size()>{launcher<kNumber>()...};
  }
  (std::make_integer_sequence<int, static_cast<int>(kBlockedShapes.size())>());
  kTable[static_cast<std::size_t>(shape)](p, stream);
}

}  // namespace coppice::cuda
