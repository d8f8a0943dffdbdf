#include <array>
#include <utility>

#include "cuda/blocked/blocked_kernel.h"
#include "cuda/blocked/blocked_product.h"
#include "cuda/launch.h"

namespace coppice::cuda {
namespace {

template <int kNumber>
void launch_one(const BlockedArguments& p, cudaStream_t stream) {
  constexpr BlockedShape kShape = kBlockedShapes[kNumber];
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(p.row_tiles) * static_cast<unsigned>(p.token_tiles));
  shape.threads = kShape.threads();
  shape.shared_bytes = kShape.shared_bytes(p.lists);
  launch(blocked_kernel<kNumber>, shape, stream, "launching a product of many tokens", p);
}

}  // namespace

void launch_blocked(int shape, const BlockedArguments& p, cudaStream_t stream) {
  using Function = void (*)(const BlockedArguments&, cudaStream_t);
  constexpr auto kTable = []<int... kNumber>(std::integer_sequence<int, kNumber...>) {
    return std::array<Function, kBlockedShapes.size()>{launch_one<kNumber>...};
  }
  (std::make_integer_sequence<int, static_cast<int>(kBlockedShapes.size())>());
  kTable[static_cast<std::size_t>(shape)](p, stream);
}

}  // namespace coppice::cuda
