// Runs kernels of sm_90a on the host, to follow them where there is no GPU: included in front of
// their headers, it makes plain C++ of CUDA, and the files of this folder take the place of
// src/cuda/ptx (one function there is one here) and of cuda/launch.h.
//
// A std::thread for every thread of a cluster; thread blocks of different clusters one after the
// other. Shared memory is poisoned, and addresses are checked for alignment and bounds. Products of
// warpgroups read their operands as late as they may: when they are waited for; copies arrive at
// once. So wrong places, wrong phases, stages released too early and sums exchanged wrongly show;
// missing fences do not, nor what only time brings about.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __launch_bounds__
#undef __grid_constant__
#undef __align__
#undef __forceinline__
#define __global__
#define __device__
#define __host__
#define __shared__
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n)
#define __forceinline__ inline

namespace emulated {

[[noreturn]] inline void fail(const char* what) {
  std::printf("emulator: %s\n", what);
  std::fflush(stdout);
  std::abort();
}

/// A barrier whose members may leave.
struct Meeting {
  std::mutex m;
  std::condition_variable cv;
  int members = 0, here = 0;
  long generation = 0;
  void wait() {
    std::unique_lock l(m);
    const long mine = generation;
    if (++here == members) return release();
    cv.wait(l, [&] { return generation != mine; });
  }
  /// The two halves: a generation that is over when all have come.
  void arrive(long& mine) {
    std::unique_lock l(m);
    mine = generation;
    if (++here == members) release();
  }
  void wait_for(long mine) {
    std::unique_lock l(m);
    cv.wait(l, [&] { return generation != mine; });
  }
  void leave() {
    std::unique_lock l(m);
    if (--members > 0 && here == members) release();
  }

 private:
  void release() { here = 0, ++generation, cv.notify_all(); }
};

struct MBar {
  int expected = 0, pending = 0;
  long tx = 0;
  unsigned phase = 0;
};

struct Warp {
  Meeting meet;
  std::uint64_t words[32][6];
};

struct Block {
  std::vector<std::byte> shared;
  std::mutex m;
  std::condition_variable cv;
  std::map<std::uint32_t, MBar> bars;
  std::vector<std::unique_ptr<Warp>> warps;
  Meeting all;
  struct Named {
    int here = 0;
    long generation = 0;
  } named[16];
  void settle(MBar& b) {
    if (b.pending < 0) fail("too many arrivals at an mbarrier");
    if (b.pending == 0 && b.tx == 0) b.phase ^= 1, b.pending = b.expected, cv.notify_all();
  }
};

struct Cluster {
  std::vector<std::unique_ptr<Block>> blocks;
  Meeting all;
};

inline thread_local Cluster* cluster;
inline thread_local Block* block;
inline thread_local int rank;
inline thread_local long arrived;  // at the cluster's barrier
inline thread_local std::vector<std::vector<std::function<void()>>> products;  // committed groups
inline thread_local std::vector<std::function<void()>> issued;

constexpr std::uint32_t kBase = 0x400;
inline Block& block_of(std::uint32_t a) {
  const std::uint32_t r = a >> 24;
  return r == 0 ? *block : *cluster->blocks.at(r - 1);
}
inline std::byte* at(std::uint32_t a, std::uint32_t bytes, std::uint32_t align) {
  Block& b = block_of(a);
  const std::uint32_t off = (a & 0xFFFFFF) - kBase;
  if (a % align != 0) fail("misaligned shared memory");
  if (off + bytes > b.shared.size()) fail("outside of shared memory");
  return b.shared.data() + off;
}
inline thread_local int warp_number, lane;
}  // namespace emulated

inline thread_local uint3 threadIdx, blockIdx;
inline thread_local dim3 blockDim, gridDim;

inline void __syncthreads() { emulated::block->all.wait(); }
inline void __syncwarp() { emulated::block->warps[emulated::warp_number]->meet.wait(); }
template <typename F>
auto emulated_exchange(std::initializer_list<std::uint64_t> mine, F f) {
  auto& w = *emulated::block->warps[emulated::warp_number];
  int i = 0;
  for (const std::uint64_t v : mine) w.words[emulated::lane][i++] = v;
  w.meet.wait();
  auto r = f(w.words);
  w.meet.wait();
  return r;
}
template <typename T>
T __shfl_sync(unsigned, T v, int from) {
  return emulated_exchange(
      {static_cast<std::uint64_t>(std::bit_cast<std::uint32_t>(v))},
      [&](auto& all) { return std::bit_cast<T>(static_cast<std::uint32_t>(all[from % 32][0])); });
}
template <typename T>
T __shfl_xor_sync(unsigned, T v, int mask) {
  return emulated_exchange(
      {static_cast<std::uint64_t>(std::bit_cast<std::uint32_t>(v))}, [&](auto& all) {
        return std::bit_cast<T>(static_cast<std::uint32_t>(all[emulated::lane ^ mask][0]));
      });
}
inline std::uint32_t __reduce_or_sync(unsigned, std::uint32_t v) {
  return emulated_exchange({v}, [&](auto& all) {
    std::uint32_t r = 0;
    for (auto& w : all) r |= static_cast<std::uint32_t>(w[0]);
    return r;
  });
}
template <typename T>
T __ldg(const T* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % sizeof(T)) emulated::fail("misaligned load");
  return *p;
}
inline float __uint_as_float(std::uint32_t v) { return std::bit_cast<float>(v); }
inline std::uint32_t __float_as_uint(float v) { return std::bit_cast<std::uint32_t>(v); }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  const std::uint64_t v = std::uint64_t{b} << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) r |= ((v >> 8 * (s >> 4 * i & 7)) & 255) << 8 * i;
  return r;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (by & 31));
}
inline int __clz(int v) { return std::countl_zero(static_cast<unsigned>(v)); }
inline unsigned __vminu2(unsigned a, unsigned b) {
  return std::min(a & 0xFFFF, b & 0xFFFF) | std::min(a >> 16, b >> 16) << 16;
}
inline float __fdividef(float a, float b) { return a / b; }
#define __expf std::exp
namespace coppice::cuda {
using std::max;
using std::min;
}  // namespace coppice::cuda
template <typename T>
void __stcs(T* p, T v) {
  if (reinterpret_cast<std::uintptr_t>(p) % sizeof(T)) emulated::fail("misaligned store");
  *p = v;
}
