// In place of src/cuda/ptx/copy.h: see emulate.h.
#pragma once
#include "cuda/ptx/barrier.h"
namespace coppice::cuda::ptx {
template <typename T>
T get(std::uint32_t a) {
  T v;
  std::memcpy(&v, emulated::at(a, sizeof(T), sizeof(T)), sizeof(T));
  return v;
}
template <typename T>
void put(std::uint32_t a, const T& v) {
  std::memcpy(emulated::at(a, sizeof(T), sizeof(T)), &v, sizeof(T));
}
inline const std::byte* opaque(const std::byte* p) { return p; }
inline void compute_here(std::uint32_t&) {}
inline int thread_index() { return static_cast<int>(threadIdx.x); }
inline void copy_async_16(std::uint32_t s, const void* g, std::uint32_t valid) {
  uint4 v = {};
  std::memcpy(&v, g, valid);
  put(s, v);
}
inline void copy_async_16(std::uint32_t s, const void* g) { copy_async_16(s, g, 16); }
inline void copy_async_commit() {}
template <int>
void copy_async_wait() {}
inline std::uint32_t load_shared(std::uint32_t s) { return get<std::uint32_t>(s); }
inline std::uint32_t load_table(std::uint32_t s) { return get<std::uint32_t>(s); }
inline std::uint16_t load_shared_2(std::uint32_t s) { return get<std::uint16_t>(s); }
inline uint2 load_shared_8(std::uint32_t s) { return get<uint2>(s); }
inline uint4 load_shared_16(std::uint32_t s) { return get<uint4>(s); }
inline void store_shared(std::uint32_t s, std::uint32_t v) { put(s, v); }
inline void store_shared(std::uint32_t s, uint2 v) { put(s, v); }
inline void store_shared(std::uint32_t s, uint4 v) { put(s, v); }
inline void store_shared_2_if(bool issue, std::uint32_t s, std::uint32_t v) {
  if (issue) put(s, static_cast<std::uint16_t>(v));
}
inline void copy_bulk(std::uint32_t s, const void* g, std::uint32_t bytes, std::uint32_t b) {
  std::memcpy(emulated::at(s, bytes, 16), g, bytes);
  complete(b, bytes);
}
inline void barrier_arrive_on_copies(std::uint32_t b) { barrier_arrive(b); }
}  // namespace coppice::cuda::ptx
