#include <cstdint>

#include "bench/cuda/poison.h"

namespace coppice::bench {
namespace {

constexpr int kThreads = 512;
constexpr int kBlocks = 4;  // a multiprocessor

template <typename Bits>
__global__ void find_poison(const Bits* data, std::size_t count, int* found) {
  const std::size_t step = std::size_t{gridDim.x} * kThreads;
  for (std::size_t i = std::size_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += step)
    if (data[i] == static_cast<Bits>(~Bits{0})) *found = 1;
}

}  // namespace

bool has_poison(const std::byte* device, std::size_t bytes, std::size_t element,
                cudaStream_t stream) {
  const DeviceMemory memory(sizeof(int));
  auto* found = reinterpret_cast<int*>(memory.data());
  check_cuda(cudaMemsetAsync(found, 0, sizeof(int), stream), "looking for poison");
  const auto blocks = static_cast<unsigned>(kBlocks * multiprocessors());
  if (element == 2)
    find_poison<<<blocks, kThreads, 0, stream>>>(reinterpret_cast<const std::uint16_t*>(device),
                                                 bytes / 2, found);
  else
    find_poison<<<blocks, kThreads, 0, stream>>>(reinterpret_cast<const std::uint32_t*>(device),
                                                 bytes / 4, found);
  check_cuda(cudaGetLastError(), "looking for poison");
  int result = 0;
  check_cuda(cudaMemcpyAsync(&result, found, sizeof result, cudaMemcpyDeviceToHost, stream),
             "looking for poison");
  check_cuda(cudaStreamSynchronize(stream), "looking for poison");
  return result != 0;
}

}  // namespace coppice::bench
