// In place of src/cuda/ptx/group_arrive.h: see emulate.h.
#pragma once
#include "cuda/ptx/barrier.h"
namespace coppice::cuda::ptx {
template <int kNumber, int kThreads>
void group_arrive() {
  auto& named = emulated::block->named[kNumber];
  if (++named.here == kThreads)
    named.here = 0, ++named.generation, emulated::block->waiting.wake_all();
}
}  // namespace coppice::cuda::ptx
