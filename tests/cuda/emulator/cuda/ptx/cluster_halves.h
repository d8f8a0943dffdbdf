// In place of src/cuda/ptx/cluster_halves.h: see emulate.h.
#pragma once
#include "cuda/ptx/cluster.h"
namespace coppice::cuda::ptx {
inline void cluster_arrive_relaxed() { emulated::cluster->all.arrive(emulated::arrived); }
inline void cluster_wait() { emulated::cluster->all.wait_for(emulated::arrived); }
}  // namespace coppice::cuda::ptx
