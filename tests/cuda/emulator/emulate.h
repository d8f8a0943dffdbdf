// Runs kernels of sm_90a on the host, to follow them where there is no GPU: included in front of
// their headers, it makes plain C++ of CUDA, and the files of this folder take the place of
// src/cuda/ptx (one function there is one here) and of cuda/launch.h.
//
// Threads of a cluster run side by side in a random order (fibers.h); thread blocks of different
// clusters one after the other. Shared memory is poisoned, and addresses are checked for alignment
// and bounds. Products of warpgroups read their operands as late as they may: when they are waited
// for; copies arrive at any time up to when they are waited for. So wrong places, wrong phases,
// missing barriers and waits, stages released too early and sums exchanged wrongly show; missing
// fences do not, nor what only time brings about.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "fibers.h"
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
#undef __noinline__
#define __forceinline__ inline
#define __noinline__

namespace emulated {

/// A barrier whose members may leave.
struct Meeting {
  WaitingList waiting;
  int members = 0, here = 0;
  long generation = 0;
  void wait() {
    long mine;
    arrive(mine);
    wait_for(mine);
  }
  /// The two halves: a generation that is over when all have come.
  void arrive(long& mine) {
    mine = generation;
    if (++here == members) release();
  }
  void wait_for(long mine) {
    while (generation == mine) waiting.wait();
  }
  void leave() {
    if (--members > 0 && here == members) release();
  }

 private:
  void release() { here = 0, ++generation, waiting.wake_all(); }
};

struct MBar {
  int expected = 0, pending = 0;
  long tx = 0;
  unsigned phase = 0;
};

struct Warp {
  Meeting meet;
  std::uint64_t words[32][6];
  std::uint64_t exchanged[2][32][8];  // in turns: who is late still reads the one before
};

struct Block {
  std::vector<std::byte> shared, statics;
  WaitingList waiting;  // for anything that follows
  std::map<std::uint32_t, MBar> bars;
  std::vector<std::unique_ptr<Warp>> warps;
  Meeting all;
  struct Named {
    int here = 0;
    long generation = 0;
  } named[16];
  void settle(MBar& b) {
    if (b.pending < 0) fail("too many arrivals at an mbarrier");
    if (b.pending == 0 && b.tx == 0) b.phase ^= 1, b.pending = b.expected, waiting.wake_all();
  }
};

struct Cluster {
  std::vector<std::unique_ptr<Block>> blocks;
  Meeting all;
};

// The thread that runs now.
inline Cluster* cluster;
inline Block* block;
inline int rank, warp_number, lane;
inline long arrived;                                              // at the cluster's barrier
inline std::vector<std::vector<std::function<void()>>> products;  // committed groups
inline std::vector<std::function<void()>> issued;
struct Copy {
  std::uint32_t to, bytes, valid;  // zeros behind those that are valid
  const void* from;
};
inline std::vector<std::vector<Copy>> copies;  // committed groups
inline std::vector<Copy> copies_issued;
}  // namespace emulated

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace emulated {
/// Keeps what belongs to a thread while others run.
class OwnState {
 public:
  OwnState() = default;
  OwnState(const OwnState&) = delete;
  ~OwnState() {
    cluster = cluster_, block = block_, rank = rank_, warp_number = warp_, lane = lane_;
    arrived = arrived_, threadIdx = thread_, blockIdx = block_index_;
    products = std::move(products_), issued = std::move(issued_);
    copies = std::move(copies_), copies_issued = std::move(copies_issued_);
  }

 private:
  Cluster* cluster_ = cluster;
  Block* block_ = block;
  int rank_ = rank, warp_ = warp_number, lane_ = lane;
  long arrived_ = arrived;
  uint3 thread_ = threadIdx, block_index_ = blockIdx;
  decltype(products) products_ = std::move(products);
  decltype(issued) issued_ = std::move(issued);
  decltype(copies) copies_ = std::move(copies);
  decltype(copies_issued) copies_issued_ = std::move(copies_issued);
};

// Addresses in shared memory: what a launch asks for from kBase on, arrays of a kernel from
// kStatics on; of another thread block of the cluster with its rank and 1 in the highest byte.
constexpr std::uint32_t kBase = 0x400, kStatics = 0x800000, kStaticBytes = 48 * 1024;
inline Block& block_of(std::uint32_t a) {
  const std::uint32_t r = a >> 24;
  return r == 0 ? *block : *cluster->blocks.at(r - 1);
}
inline std::byte* at(std::uint32_t a, std::uint32_t bytes, std::uint32_t align) {
  Block& b = block_of(a);
  const std::uint32_t place = a & 0xFFFFFF;
  auto& memory = place >= kStatics ? b.statics : b.shared;
  const std::uint32_t off = place - (place >= kStatics ? kStatics : kBase);
  if (a % align != 0) fail("misaligned shared memory");
  if (std::uint64_t{off} + bytes > memory.size()) fail("outside of shared memory");
  return memory.data() + off;
}
inline std::uint32_t shared_address(const void* pointer) {
  const auto* p = static_cast<const std::byte*>(pointer);
  const auto in = [&](const std::vector<std::byte>& memory) {
    return !memory.empty() && p >= memory.data() && p <= memory.data() + memory.size();
  };
  if (in(block->shared)) return kBase + static_cast<std::uint32_t>(p - block->shared.data());
  if (in(block->statics)) return kStatics + static_cast<std::uint32_t>(p - block->statics.data());
  if (block->shared.empty()) return kBase;
  fail("not an address of shared memory");
}
// What rewrite.cmake makes of __shared__.
template <typename T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(block->shared.data());
}
inline std::map<std::string_view, std::uint32_t> static_places;  // of a launch
inline std::uint32_t static_bytes;
template <typename T>
T& static_shared(std::string_view name) {
  const auto [found, added] = static_places.try_emplace(name, static_bytes);
  if (added) static_bytes += (sizeof(T) + 127) / 128 * 128;
  if (static_bytes > kStaticBytes) fail("too much shared memory");
  return *reinterpret_cast<T*>(block->statics.data() + found->second);
}
}  // namespace emulated

inline void __syncthreads() { emulated::block->all.wait(); }
// Lanes that happen to be together here have nothing to wait for.
inline unsigned __activemask() { return 1U << emulated::lane; }
inline void __syncwarp(unsigned lanes = ~0U) {
  if (lanes == ~0U)
    emulated::block->warps[emulated::warp_number]->meet.wait();
  else if (lanes != __activemask())
    emulated::fail("not emulated");
}
template <typename F>
auto emulated_exchange(std::initializer_list<std::uint64_t> mine, F f) {
  auto& w = *emulated::block->warps[emulated::warp_number];
  auto& words = w.exchanged[w.meet.generation & 1];
  int i = 0;
  for (const std::uint64_t v : mine) words[emulated::lane][i++] = v;
  w.meet.wait();
  return f(words);
}
template <typename T>
std::uint64_t emulated_word(T v) {
  std::uint64_t word = 0;
  static_assert(sizeof v <= sizeof word);
  std::memcpy(&word, &v, sizeof v);
  return word;
}
template <typename T>
T emulated_value(std::uint64_t word) {
  T v;
  std::memcpy(&v, &word, sizeof v);
  return v;
}
/// The value of lane from(lane).
template <typename T, typename F>
T emulated_shuffle(unsigned lanes, T v, F from) {
  if (lanes != ~0U) emulated::fail("not emulated");
  return emulated_exchange({emulated_word(v)}, [&](auto& all) {
    return emulated_value<T>(all[from(emulated::lane)][0]);
  });
}
template <typename T>
T __shfl_sync(unsigned lanes, T v, int from, int width = 32) {
  return emulated_shuffle(lanes, v,
                          [&](int lane) { return (lane & -width) | (from & (width - 1)); });
}
template <typename T>
T __shfl_up_sync(unsigned lanes, T v, unsigned by) {
  const int step = static_cast<int>(by);
  return emulated_shuffle(lanes, v, [&](int lane) { return lane >= step ? lane - step : lane; });
}
template <typename T>
T __shfl_xor_sync(unsigned lanes, T v, int mask) {
  return emulated_shuffle(lanes, v, [&](int lane) { return lane ^ mask; });
}
template <typename T, typename F>
T emulated_reduce(unsigned lanes, T v, F f) {
  if (lanes != ~0U) emulated::fail("not emulated");
  return emulated_exchange({emulated_word(v)}, [&](auto& all) {
    const auto of = [&](int i) { return emulated_value<T>(all[i][0]); };
    T r = of(0);
    for (int i = 1; i < 32; ++i) r = f(r, of(i));
    return r;
  });
}
inline std::uint32_t __reduce_or_sync(unsigned lanes, std::uint32_t v) {
  return emulated_reduce(lanes, v, [](auto a, auto b) { return a | b; });
}
template <typename T>
T __reduce_add_sync(unsigned lanes, T v) {
  return emulated_reduce(lanes, v, [](T a, T b) {
    return static_cast<T>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
  });
}
template <typename T>
T __reduce_max_sync(unsigned lanes, T v) {
  return emulated_reduce(lanes, v, [](T a, T b) { return std::max(a, b); });
}
inline unsigned __ballot_sync(unsigned lanes, int v) {
  return __reduce_or_sync(lanes, static_cast<unsigned>(v != 0) << emulated::lane);
}
template <typename T>
T __ldg(const T* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % sizeof(T)) emulated::fail("misaligned load");
  return *p;
}
template <typename T>
T __ldcg(const T* p) {
  return __ldg(p);
}
template <typename T>
T __ldcs(const T* p) {
  return __ldg(p);
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
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline int __float2int_rn(float v) { return static_cast<int>(std::nearbyint(v)); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline int __popc(unsigned v) { return std::popcount(v); }
inline int __ffs(int v) { return v == 0 ? 0 : std::countr_zero(static_cast<unsigned>(v)) + 1; }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(std::uint64_t{a} * b >> 32);
}
inline unsigned __brev(unsigned v) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (v >> i & 1) << (31 - i);
  return r;
}
template <typename T>
T atomicAdd(T* p, T v) {
  return std::exchange(*p, *p + v);
}
template <typename T>
T atomicMin(T* p, T v) {
  return std::exchange(*p, std::min(*p, v));
}
template <typename T>
T atomicMax(T* p, T v) {
  return std::exchange(*p, std::max(*p, v));
}
template <typename T>
T atomicOr(T* p, T v) {
  return std::exchange(*p, *p | v);
}
inline std::size_t __cvta_generic_to_shared(const void* p) { return emulated::shared_address(p); }
inline int __clz(int v) { return std::countl_zero(static_cast<unsigned>(v)); }
inline unsigned __vminu2(unsigned a, unsigned b) {
  return std::min(a & 0xFFFF, b & 0xFFFF) | std::min(a >> 16, b >> 16) << 16;
}
inline float rsqrtf(float v) { return 1 / std::sqrt(v); }
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

// The device side of functions for both, from here on; not of CUDA's own headers.
#undef __CUDA_ARCH__
#define __CUDA_ARCH__ 900
