// Shapes of blocked kernels by their number, for the translation units that have some of them.
#pragma once

#include "cuda/blocked/blocked_arguments.h"
#include "cuda/blocked/blocked_shape.h"
#include "cuda/launch.h"

namespace coppice::cuda {

/// A thread block for every tile.
inline LaunchShape tile_launch(const BlockedShape& shape, const BlockedArguments& p,
                               int shared_bytes) {
  return {.grid = dim3(static_cast<unsigned>(p.row_tiles) * static_cast<unsigned>(p.token_tiles)),
          .threads = shape.threads(),
          .shared_bytes = shared_bytes};
}

/// Launches shape number `shape`. `Unit`: what a translation unit has: `has(BlockedShape)`, and
/// `launch<kNumber>(arguments...)` for those.
template <class Unit, int kNumber = 0, typename... Arguments>
void launch_blocked_shape(int shape, const Arguments&... arguments) {
  if constexpr (kNumber < static_cast<int>(kBlockedShapes.size())) {
    if (shape != kNumber) return launch_blocked_shape<Unit, kNumber + 1>(shape, arguments...);
    if constexpr (Unit::has(kBlockedShapes[kNumber])) Unit::template launch<kNumber>(arguments...);
  }
}

}  // namespace coppice::cuda
