#include "bench/cuda/device.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>

#include "coppice/dtype.h"

namespace coppice::bench {

void check_cuda(cudaError_t result, const char* doing) {
  if (result != cudaSuccess)
    throw std::runtime_error(std::string(doing) + ": " + cudaGetErrorString(result));
}

DeviceMemory::DeviceMemory(std::size_t bytes) {
  check_cuda(cudaMalloc(&data_, std::max<std::size_t>(bytes, 16)), "cudaMalloc");
}

DeviceMemory::~DeviceMemory() { cudaFree(data_); }

DeviceMemory random_halves(std::size_t count, bool bf16, std::uint64_t seed) {
  constexpr std::size_t kTable = std::size_t{1} << 23;
  static std::vector<std::uint16_t> tables[2];
  std::vector<std::uint16_t>& table = tables[bf16];
  if (table.empty()) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> floats(kTable);
    for (float& v : floats) v = normal(random);
    table.resize(kTable);
    from_float(bf16 ? Dtype::bf16 : Dtype::f16, floats, reinterpret_cast<std::byte*>(table.data()));
  }
  DeviceMemory memory(count * 2);
  // Copies of the table beside each other, each begun at another place.
  for (std::size_t at = 0; at < count; at += kTable / 2) {
    const std::size_t from = (seed * 7919 + at / 3) % (kTable / 2);
    check_cuda(cudaMemcpy(memory.data() + at * 2, table.data() + from,
                          std::min(kTable / 2, count - at) * 2, cudaMemcpyHostToDevice),
               "cudaMemcpy");
  }
  return memory;
}

ReplayedCall::ReplayedCall(const DeviceCall& call, cudaStream_t stream, double seconds)
    : stream_(stream) {
  check_cuda(cudaEventCreate(&begin_), "cudaEventCreate");
  check_cuda(cudaEventCreate(&end_), "cudaEventCreate");
  for (int i = 0; i < 3; ++i) call(i, stream);
  check_cuda(cudaStreamSynchronize(stream), "first calls");
  check_cuda(cudaEventRecord(begin_, stream), "cudaEventRecord");
  for (int i = 0; i < 4; ++i) call(i, stream);
  check_cuda(cudaEventRecord(end_, stream), "cudaEventRecord");
  check_cuda(cudaStreamSynchronize(stream), "calls");
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
  calls_ = std::clamp(static_cast<int>(seconds * 1e3 * 4 / milliseconds), 4, 2000);
  cudaGraph_t graph = nullptr;
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < calls_; ++i) call(i, stream);
  check_cuda(cudaStreamEndCapture(stream, &graph), "capture");
  check_cuda(cudaGraphInstantiate(&graph_, graph, 0), "cudaGraphInstantiate");
  check_cuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
  replay();
}

ReplayedCall::~ReplayedCall() {
  cudaGraphExecDestroy(graph_);
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
}

double ReplayedCall::replay(const std::function<void()>& meanwhile) {
  check_cuda(cudaEventRecord(begin_, stream_), "cudaEventRecord");
  check_cuda(cudaGraphLaunch(graph_, stream_), "cudaGraphLaunch");
  check_cuda(cudaEventRecord(end_, stream_), "cudaEventRecord");
  if (meanwhile) meanwhile();
  check_cuda(cudaEventSynchronize(end_), "replay");
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
  return milliseconds * 1e-3 / calls_;
}

}  // namespace coppice::bench
