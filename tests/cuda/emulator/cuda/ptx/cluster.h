// In place of src/cuda/ptx/cluster.h: see emulate.h.
#pragma once
#include "cuda/ptx/copy.h"
namespace coppice::cuda::ptx {
inline std::uint32_t cluster_rank() { return static_cast<std::uint32_t>(emulated::rank); }
inline void cluster_barrier_relaxed() { emulated::cluster->all.wait(); }
inline void cluster_barrier() { emulated::cluster->all.wait(); }
inline std::uint32_t cluster_address(std::uint32_t s, std::uint32_t rank) {
  return (s & 0xFFFFFF) | (rank + 1) << 24;
}
inline void store_cluster_16(std::uint32_t a, float4 v) { put(a, v); }
inline void store_cluster_16(std::uint32_t a, float4 v, std::uint32_t b) {
  if (a >> 24 != b >> 24) fail("a barrier of another thread block");
  put(a, v);
  complete(b, 16);
}
}  // namespace coppice::cuda::ptx
