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
// An asynchronous copy arrives at once or when it is waited for, either as it happens.
inline void arrive(const emulated::Copy& c) {
  std::byte* to = emulated::at(c.to, c.bytes, c.bytes);
  std::memcpy(to, c.from, c.valid);
  std::memset(to + c.valid, 0, c.bytes - c.valid);
}
inline void copy_async_bytes(std::uint32_t s, const void* g, std::uint32_t bytes,
                             std::uint32_t valid) {
  if (valid > bytes) fail("a copy of more than its size");
  if (reinterpret_cast<std::uintptr_t>(g) % bytes != 0) fail("misaligned copy");
  const emulated::Copy copy{s, bytes, valid, g};
  emulated::at(s, bytes, bytes);
  if (emulated::any_of(2) == 0)
    arrive(copy);
  else
    emulated::copies_issued.push_back(copy);
}
inline void copy_async_16(std::uint32_t s, const void* g, std::uint32_t valid) {
  copy_async_bytes(s, g, 16, valid);
}
inline void copy_async_16(std::uint32_t s, const void* g) { copy_async_16(s, g, 16); }
template <int kBytes>
void copy_async_if(bool issue, std::uint32_t s, const void* g) {
  if (issue) copy_async_bytes(s, g, kBytes, kBytes);
}
inline void copy_async_16_if(bool issue, std::uint32_t s, const void* g) {
  copy_async_if<16>(issue, s, g);
}
inline void copy_async_commit() {
  emulated::copies.push_back(std::move(emulated::copies_issued));
  emulated::copies_issued.clear();
}
template <int kPending>
void copy_async_wait() {
  while (static_cast<int>(emulated::copies.size()) > kPending) {
    for (const emulated::Copy& c : emulated::copies.front()) arrive(c);
    emulated::copies.erase(emulated::copies.begin());
  }
}
inline void copy_async_wait_all() {
  copy_async_wait<0>();
  for (const emulated::Copy& c : emulated::copies_issued) arrive(c);
  emulated::copies_issued.clear();
}
inline std::uint32_t load_shared(std::uint32_t s) { return get<std::uint32_t>(s); }
inline std::uint32_t load_table(std::uint32_t s) { return get<std::uint32_t>(s); }
inline std::uint32_t load_shared_1(std::uint32_t s) { return get<std::uint8_t>(s); }
inline std::uint16_t load_shared_2(std::uint32_t s) { return get<std::uint16_t>(s); }
inline uint2 load_shared_8(std::uint32_t s) { return get<uint2>(s); }
inline uint4 load_shared_16(std::uint32_t s) { return get<uint4>(s); }
inline void store_shared(std::uint32_t s, std::uint32_t v) { put(s, v); }
inline void store_shared(std::uint32_t s, uint2 v) { put(s, v); }
inline void store_shared(std::uint32_t s, uint4 v) { put(s, v); }
inline void store_shared_2_if(bool issue, std::uint32_t s, std::uint32_t v) {
  if (issue) put(s, static_cast<std::uint16_t>(v));
}
/// Of the copy engine: some time later, into this thread block.
template <typename F>
void engine(F copy) {
  emulated::happens_later([copy, cluster = emulated::cluster, block = emulated::block] {
    emulated::cluster = cluster, emulated::block = block;
    copy();
  });
}
inline void copy_bulk(std::uint32_t s, const void* g, std::uint32_t bytes, std::uint32_t b) {
  if (bytes % 16 != 0 || reinterpret_cast<std::uintptr_t>(g) % 16 != 0) fail("misaligned copy");
  engine([=] {
    std::memcpy(emulated::at(s, bytes, 16), g, bytes);
    complete(b, bytes);
  });
}
/// The arrival of a thread's copies up to here, which happens no later than now.
inline void barrier_arrive_on_copies(std::uint32_t b) {
  copy_async_wait_all();
  barrier_arrive(b);
}
}  // namespace coppice::cuda::ptx
