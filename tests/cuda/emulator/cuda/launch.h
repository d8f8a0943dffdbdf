// In place of src/cuda/launch.h: see emulate.h.
#pragma once
#include <string>
#include <tuple>

#include "cuda/check.h"
#include "cuda/ptx/barrier.h"
#include "emulate.h"
namespace emulated {
struct Grid {
  dim3 blocks;
  int threads, shared_bytes, cluster;
};
/// One cluster, whose first thread block is `first`.
template <typename F>
void run_cluster(const Grid& g, uint3 first, F kernel) {
  Cluster cluster;
  cluster.all.members = g.threads * g.cluster;
  for (int r = 0; r < g.cluster; ++r) {
    auto b = std::make_unique<Block>();
    b->shared.assign(static_cast<std::size_t>(g.shared_bytes), std::byte{0xFF});
    b->statics.assign(kStaticBytes, std::byte{0xFF});
    for (int w = 0; w < (g.threads + 31) / 32; ++w) {
      b->warps.push_back(std::make_unique<Warp>());
      b->warps.back()->meet.members = std::min(32, g.threads - 32 * w);
    }
    b->all.members = g.threads;
    cluster.blocks.push_back(std::move(b));
  }
  run_side_by_side(g.threads * g.cluster, [&](int number) {
    const int r = number / g.threads, i = number % g.threads;
    emulated::cluster = &cluster, block = cluster.blocks[r].get(), rank = r;
    warp_number = i / 32, lane = i % 32;
    threadIdx = {static_cast<unsigned>(i), 0, 0};
    blockIdx = {first.x + static_cast<unsigned>(r), first.y, first.z};
    products.clear(), issued.clear(), copies.clear(), copies_issued.clear();
    kernel();
    if (!products.empty() || !issued.empty()) fail("products nobody waits for");
    block->warps[warp_number]->meet.leave();
    block->all.leave();
    emulated::cluster->all.leave();
  });
}
/// How often what has been launched so far, by what it is called in an error or by its name.
inline std::map<std::string, int, std::less<>> launches;
template <typename F>
void run_grid(const Grid& g, std::string_view name, F kernel) {
  ++launches[std::string(name)];
  if (g.cluster > 1) ++launches[std::string(name) + " in clusters"];
  if (g.shared_bytes > 227 * 1024) fail("too much shared memory");
  if (g.threads < 1 || g.threads > 1024 || g.cluster > 8) fail("no such thread block");
  if (g.blocks.x % static_cast<unsigned>(g.cluster) != 0) fail("no whole clusters");
  if (g.blocks.x == 0 || g.blocks.y == 0 || g.blocks.z == 0) fail("an empty grid");
  if (g.blocks.y > 65535 || g.blocks.z > 65535) fail("too large a grid");
  static_places.clear(), static_bytes = 0;
  blockDim = dim3(static_cast<unsigned>(g.threads)), gridDim = g.blocks;
  for (unsigned z = 0; z < g.blocks.z; ++z)
    for (unsigned y = 0; y < g.blocks.y; ++y)
      for (unsigned x = 0; x < g.blocks.x; x += static_cast<unsigned>(g.cluster))
        run_cluster(g, {x, y, z}, kernel);
}
/// What rewrite.cmake makes of kernel<<<blocks, threads, bytes, stream>>>(arguments...).
template <typename F>
struct Kernel {
  const char* name;
  F call;
};
template <typename... A>
struct Called {
  Grid grid;
  std::tuple<A...> arguments;
};
struct Configuration {
  Grid grid;
  Configuration(dim3 blocks, dim3 threads, std::size_t bytes = 0, cudaStream_t = nullptr)
      : grid{blocks, static_cast<int>(threads.x), static_cast<int>(bytes), 1} {
    if (threads.y * threads.z != 1) fail("not emulated");
  }
  template <typename... A>
  Called<A...> operator()(A... arguments) const {
    return {grid, {arguments...}};
  }
};
template <typename F, typename... A>
void operator/(const Kernel<F>& kernel, const Called<A...>& c) {
  run_grid(c.grid, kernel.name, [&] { std::apply(kernel.call, c.arguments); });
}
}  // namespace emulated
namespace coppice::cuda {
struct LaunchShape {
  dim3 grid;
  int threads = 0, shared_bytes = 0, cluster = 1;
  bool overlaps = false;
};
template <typename... P>
void launch(void (*kernel)(P...), const LaunchShape& s, cudaStream_t, std::string_view doing,
            const P&... a) {
  emulated::run_grid({s.grid, s.threads, s.shared_bytes, s.cluster}, doing, [&] { kernel(a...); });
}
}  // namespace coppice::cuda
