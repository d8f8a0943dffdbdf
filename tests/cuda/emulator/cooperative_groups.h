// In place of CUDA's header of this name: clusters (see emulate.h).
#pragma once
#include "cuda/ptx/cluster.h"
namespace cooperative_groups {
struct Cluster {
  void sync() const { coppice::cuda::ptx::cluster_barrier(); }
  template <typename T>
  T* map_shared_rank(T* mine, int rank) const {
    const std::uint32_t a = emulated::shared_address(mine);
    return reinterpret_cast<T*>(
        emulated::at(coppice::cuda::ptx::cluster_address(a, rank), sizeof(T), alignof(T)));
  }
};
inline Cluster this_cluster() { return {}; }
}  // namespace cooperative_groups
