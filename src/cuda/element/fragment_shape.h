// How products by fragments are launched, whatever multiplies them.
#pragma once

#include "cuda/element/fragment_arguments.h"
#include "cuda/launch.h"

namespace coppice::cuda {

/// Thread blocks for tiles of so many tokens; `clusters`: the device has them.
inline LaunchShape fragment_shape(const FragmentArguments& p, int tokens, int shared_bytes,
                                  bool clusters) {
  const FragmentSplit& s = p.split;
  LaunchShape shape;
  const int tiles = (p.weight.layout.units() + s.block_units() - 1) / s.block_units();
  shape.grid = dim3(static_cast<unsigned>(tiles * s.ranks),
                    static_cast<unsigned>((p.tokens + tokens - 1) / tokens));
  shape.threads = 32 * s.warps;
  shape.shared_bytes = shared_bytes;
  shape.cluster = s.ranks;
  shape.overlaps = clusters;
  return shape;
}

}  // namespace coppice::cuda
