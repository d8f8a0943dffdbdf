// In place of src/cuda/ptx/load_once.h: see emulate.h.
#pragma once
#include "cuda/ptx/copy.h"
namespace coppice::cuda::ptx {
inline std::uint32_t load_once_4(const std::byte* g) {
  return __ldg(reinterpret_cast<const std::uint32_t*>(g));
}
inline uint4 load_once_16(const std::byte* g) { return __ldg(reinterpret_cast<const uint4*>(g)); }
inline uint4 load_once_16_if(bool issue, const std::byte* g) {
  return issue ? load_once_16(g) : uint4{};
}
inline void store_shared_2(std::uint32_t s, std::uint32_t v) { store_shared_2_if(true, s, v); }
}  // namespace coppice::cuda::ptx
