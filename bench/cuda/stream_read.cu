// Plain 16-byte loads by 1024 threads x 2 thread blocks a multiprocessor, each kernel begun while
// the last one ends: on an H200 4.58 TB/s for 33 MB and more, where copies to shared memory
// reach 4.3 (docs/performance/model.md).
#include "bench/cuda/overlap.h"
#include "bench/cuda/stream_read.h"

namespace coppice::bench {
namespace {

constexpr int kThreads = 1024;
constexpr int kBlocks = 2;  // on a multiprocessor

// Tiles of kThreads x kUnroll x 16 bytes, taken in turn.
template <int kUnroll>
__global__ void __launch_bounds__(kThreads, kBlocks)
    stream_read(const uint4* data, std::int64_t count, std::uint32_t* sink) {
  allow_next_kernel();
  constexpr std::int64_t kTile = std::int64_t{kThreads} * kUnroll;
  std::uint32_t sum = 0;
  for (std::int64_t base = blockIdx.x * kTile; base < count; base += gridDim.x * kTile) {
    uint4 loaded[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const std::int64_t at = base + i * kThreads + threadIdx.x;
      loaded[i] = at < count ? __ldg(data + at) : uint4{};
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) sum ^= loaded[i].x ^ loaded[i].y ^ loaded[i].z ^ loaded[i].w;
  }
  wait_for_last_kernel();
  // Practically never, but the compiler cannot know.
  if (sum == 0x5bd1e995u) sink[threadIdx.x] = sum;
}

template <int kUnroll>
void launch(const std::byte* data, std::int64_t bytes, std::byte* sink, cudaStream_t stream) {
  const std::int64_t tile = std::int64_t{kThreads} * kUnroll * 16;
  const std::int64_t resident = std::int64_t{kBlocks} * multiprocessors();
  const std::int64_t blocks = std::min((bytes + tile - 1) / tile, resident);
  launch_overlapping(stream_read<kUnroll>, static_cast<unsigned>(blocks), kThreads, stream,
                     reinterpret_cast<const uint4*>(data), bytes / 16,
                     reinterpret_cast<std::uint32_t*>(sink));
}

}  // namespace

void launch_stream_read(const std::byte* data, std::int64_t bytes, std::byte* sink,
                        cudaStream_t stream) {
  // Short loads are divided more finely: every thread block should have some.
  const std::int64_t share = bytes / (std::int64_t{kBlocks} * multiprocessors() * kThreads * 16);
  if (share >= 4) {
    launch<4>(data, bytes, sink, stream);
  } else if (share >= 2) {
    launch<2>(data, bytes, sink, stream);
  } else {
    launch<1>(data, bytes, sink, stream);
  }
}

}  // namespace coppice::bench
