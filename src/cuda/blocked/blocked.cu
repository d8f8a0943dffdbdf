#include <array>
#include <utility>

#include "cuda/blocked/blocked_kernel.h"
#include "cuda/blocked/blocked_product.h"
#include "cuda/blocked/blocked_window_kernel.h"
#include "cuda/launch.h"

namespace coppice::cuda {
namespace {

template <int kNumber>
void launch_one(const BlockedArguments& p, cudaStream_t stream) {
  constexpr BlockedShape kShape = kBlockedShapes[kNumber];
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(p.row_tiles) * static_cast<unsigned>(p.token_tiles));
  shape.threads = kShape.threads();
  constexpr const char* kDoing = "launching a product of many tokens";
  if constexpr (kShape.windowed()) {
    shape.shared_bytes = p.window.shared_bytes(kShape);
    launch(short_vectors_kernel<kNumber>, shape, stream, kDoing, p);
  } else {
    shape.shared_bytes = kShape.shared_bytes(p.lists);
    launch(blocked_kernel<kNumber>, shape, stream, kDoing, p);
  }
}

// None for those of blocked_wgmma.cu and blocked_fed.cu.
template <int kNumber>
constexpr auto launcher() -> void (*)(const BlockedArguments&, cudaStream_t) {
  if constexpr (kBlockedShapes[kNumber].warpgroups() || kBlockedShapes[kNumber].fed())
    return nullptr;
  else
    return launch_one<kNumber>;
}

}  // namespace

void launch_blocked(int shape, const BlockedArguments& p, cudaStream_t stream) {
  using Function = void (*)(const BlockedArguments&, cudaStream_t);
  constexpr auto kTable = []<int... kNumber>(std::integer_sequence<int, kNumber...>) {
    return std::array<Function, kBlockedShapes.size()>{launcher<kNumber>()...};
  }
  (std::make_integer_sequence<int, static_cast<int>(kBlockedShapes.size())>());
  kTable[static_cast<std::size_t>(shape)](p, stream);
}

}  // namespace coppice::cuda
