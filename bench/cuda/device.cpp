#include "bench/cuda/device.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>

namespace coppice::bench {

void check_cuda(cudaError_t result, const char* doing) {
  if (result != cudaSuccess)
    throw std::runtime_error(std::string(doing) + ": " + cudaGetErrorString(result));
}

namespace {

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "asking for the current device");
  check_cuda(cudaDeviceGetAttribute(&value, which, device), "asking for a device attribute");
  return value;
}

}  // namespace

int multiprocessors() { return attribute(cudaDevAttrMultiProcessorCount); }
bool can_overlap_kernels() { return attribute(cudaDevAttrComputeCapabilityMajor) >= 9; }

DeviceMemory::DeviceMemory(std::size_t bytes) {
  check_cuda(cudaMalloc(&data_, std::max<std::size_t>(bytes, 16)), "cudaMalloc");
}

DeviceMemory::~DeviceMemory() { cudaFree(data_); }

std::int64_t rotated_copies(std::int64_t bytes) {
  return std::clamp<std::int64_t>((kRotatedBytes + bytes - 1) / std::max<std::int64_t>(bytes, 1), 2,
                                  ReplayedCall::kMostCalls);
}

namespace {

constexpr std::size_t kTable = std::size_t{1} << 23;

// kTable numbers of a type.
const std::vector<std::byte>& random_table(Dtype dtype) {
  static std::array<std::vector<std::byte>, 3> tables;
  std::vector<std::byte>& table = tables[dtype == Dtype::f16 ? 0 : dtype == Dtype::bf16 ? 1 : 2];
  if (table.empty()) {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> floats(kTable);
    for (float& v : floats) v = normal(random);
    table.resize(kTable * static_cast<std::size_t>(dtype_bytes(dtype)));
    from_float(dtype, floats, table.data());
  }
  return table;
}

}  // namespace

DeviceMemory random_values(std::int64_t values, Dtype dtype, std::uint64_t seed) {
  if (dtype == Dtype::f8_e4m3) return random_values((values + 1) / 2, Dtype::f16, seed);
  const std::vector<std::byte>& table = random_table(dtype);
  const auto size = static_cast<std::size_t>(dtype_bytes(dtype));
  const auto count = static_cast<std::size_t>(values);
  DeviceMemory memory(count * size);
  // Copies of the table beside each other, each begun at another place.
  for (std::size_t at = 0; at < count; at += kTable / 2) {
    const std::size_t from = (seed * 7919 + at / 3) % (kTable / 2);
    check_cuda(cudaMemcpy(memory.data() + at * size, table.data() + from * size,
                          std::min(kTable / 2, count - at) * size, cudaMemcpyHostToDevice),
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
  calls_ = std::clamp(static_cast<int>(seconds * 1e3 * 4 / milliseconds), 4, kMostCalls);
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
