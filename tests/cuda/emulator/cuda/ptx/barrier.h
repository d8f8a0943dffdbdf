// In place of src/cuda/ptx/barrier.h: see emulate.h.
#pragma once
#include "emulate.h"
namespace coppice::cuda::ptx {
using emulated::fail;
using emulated::shared_address;
inline emulated::MBar& bar(std::uint32_t b) { return emulated::block_of(b).bars[b & 0xFFFFFF]; }
inline void barrier_init(std::uint32_t b, std::uint32_t n) {
  emulated::at(b, 8, 8);
  bar(b) = {int(n), int(n), 0, 0};
}
inline void fence_barrier_init() {}
inline void barrier_arrive(std::uint32_t b) {
  auto& block = emulated::block_of(b);
  --bar(b).pending;
  block.settle(bar(b));
}
inline void barrier_arrive_expect(std::uint32_t b, std::uint32_t bytes) {
  auto& block = emulated::block_of(b);
  bar(b).tx += bytes;
  --bar(b).pending;
  block.settle(bar(b));
}
inline void complete(std::uint32_t b, std::uint32_t bytes) {
  auto& block = emulated::block_of(b);
  bar(b).tx -= bytes;
  block.settle(bar(b));
}
inline bool barrier_test(std::uint32_t b, std::uint32_t parity) {
  if (bar(b).phase != parity) return true;
  emulated::let_others_run();
  return bar(b).phase != parity;
}
inline void barrier_wait(std::uint32_t b, std::uint32_t parity) {
  if (bar(b).expected == 0) fail("waits at no barrier");
  while (bar(b).phase == parity) emulated::block->waiting.wait();
}
inline void fence_async_proxy() {}
inline void group_barrier(int n, int threads) {
  auto& named = emulated::block->named[n];
  const long mine = named.generation;
  if (++named.here == threads) {
    named.here = 0, ++named.generation, emulated::block->waiting.wake_all();
    return;
  }
  while (named.generation == mine) emulated::block->waiting.wait();
}
template <int N, int T>
void group_barrier() {
  group_barrier(N, T);
}
template <int>
void registers_raise() {}
template <int>
void registers_lower() {}
}  // namespace coppice::cuda::ptx
