// In place of src/cuda/launch.h: see emulate.h.
#pragma once
#include "cuda/ptx/barrier.h"
#include "emulate.h"
namespace coppice::cuda {
struct LaunchShape {
  dim3 grid;
  int threads = 0, shared_bytes = 0, cluster = 1;
  bool overlaps = false;
};
template <typename... P>
void launch(void (*kernel)(P...), const LaunchShape& s, cudaStream_t, std::string_view,
            const P&... a) {
  if (s.shared_bytes > 227 * 1024) emulated::fail("too much shared memory");
  for (unsigned first = 0; first < s.grid.x; first += static_cast<unsigned>(s.cluster)) {
    emulated::Cluster cluster;
    cluster.all.members = s.threads * s.cluster;
    for (int r = 0; r < s.cluster; ++r) {
      auto b = std::make_unique<emulated::Block>();
      b->shared.assign(static_cast<std::size_t>(s.shared_bytes), std::byte{0xFF});
      for (int w = 0; w < s.threads / 32; ++w) {
        b->warps.push_back(std::make_unique<emulated::Warp>());
        b->warps.back()->meet.members = 32;
      }
      b->all.members = s.threads;
      cluster.blocks.push_back(std::move(b));
    }
    std::vector<std::thread> threads;
    for (int r = 0; r < s.cluster; ++r)
      for (int i = 0; i < s.threads; ++i)
        threads.emplace_back([&, r, i] {
          emulated::cluster = &cluster, emulated::block = cluster.blocks[r].get(),
          emulated::rank = r;
          emulated::warp_number = i / 32, emulated::lane = i % 32;
          threadIdx = {static_cast<unsigned>(i), 0, 0},
          blockIdx = {first + static_cast<unsigned>(r), 0, 0};
          blockDim = dim3(s.threads), gridDim = s.grid;
          kernel(a...);
          if (!emulated::products.empty() || !emulated::issued.empty())
            emulated::fail("products nobody waits for");
          emulated::block->warps[emulated::warp_number]->meet.leave();
          emulated::block->all.leave();
          cluster.all.leave();
        });
    for (auto& t : threads) t.join();
  }
}
}  // namespace coppice::cuda
