#include "bench/cuda/device.h"

#include <algorithm>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>

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

// kTable numbers of a type, in the memory of the current device. They stay there until the process
// ends.
const std::byte* random_table(Dtype dtype) {
  static std::map<std::pair<int, Dtype>, void*> tables;
  int device = 0;
  check_cuda(cudaGetDevice(&device), "asking for the current device");
  void*& table = tables[{device, dtype}];
  if (table == nullptr) {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> floats(kTable);
    for (float& v : floats) v = normal(random);
    std::vector<std::byte> values(kTable * static_cast<std::size_t>(dtype_bytes(dtype)));
    from_float(dtype, floats, values.data());
    void* memory = nullptr;
    check_cuda(cudaMalloc(&memory, values.size()), "cudaMalloc");
    check_cuda(cudaMemcpy(memory, values.data(), values.size(), cudaMemcpyHostToDevice),
               "cudaMemcpy");
    table = memory;
  }
  return static_cast<const std::byte*>(table);
}

}  // namespace

DeviceMemory random_values(std::int64_t values, Dtype dtype, std::uint64_t seed) {
  if (dtype == Dtype::f8_e4m3) return random_values((values + 1) / 2, Dtype::f16, seed);
  const std::byte* table = random_table(dtype);
  const auto size = static_cast<std::size_t>(dtype_bytes(dtype));
  const auto count = static_cast<std::size_t>(values);
  DeviceMemory memory(count * size);
  // Copies of the table beside each other, each begun at another place.
  for (std::size_t at = 0; at < count; at += kTable / 2) {
    const std::size_t from = (seed * 7919 + at / 3) % (kTable / 2);
    check_cuda(cudaMemcpyAsync(memory.data() + at * size, table + from * size,
                               std::min(kTable / 2, count - at) * size, cudaMemcpyDeviceToDevice,
                               cudaStreamLegacy),
               "cudaMemcpy");
  }
  check_cuda(cudaStreamSynchronize(cudaStreamLegacy), "copying random values");
  return memory;
}

namespace {

// Two events around calls on a stream.
class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {
    check_cuda(cudaEventCreate(&begin_), "cudaEventCreate");
    check_cuda(cudaEventCreate(&end_), "cudaEventCreate");
    check_cuda(cudaEventRecord(begin_, stream_), "cudaEventRecord");
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  // Seconds since it was made; waits for the stream.
  double stop() {
    check_cuda(cudaEventRecord(end_, stream_), "cudaEventRecord");
    check_cuda(cudaStreamSynchronize(stream_), "calls");
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return 1e-3 * milliseconds;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace

double seconds_of_call(const DeviceCall& call, int i, cudaStream_t stream) {
  Stopwatch watch(stream);
  call(i, stream);
  return watch.stop();
}

ReplayedCall::ReplayedCall(const DeviceCall& call, cudaStream_t stream, double seconds)
    : stream_(stream) {
  estimate(call, seconds);
  const int least = is_slow() || estimate_ > 2 * seconds ? 1 : estimate_ > seconds ? 2 : 4;
  calls_ = static_cast<int>(
      std::clamp<double>(seconds / estimate_, static_cast<double>(least), kMostCalls));
  check_cuda(cudaEventCreate(&begin_), "cudaEventCreate");
  check_cuda(cudaEventCreate(&end_), "cudaEventCreate");
  capture(call);
  if (estimate_ <= seconds) replay();  // longer calls ran twice
}

// The first call may load a kernel: only a second long one is believed.
void ReplayedCall::estimate(const DeviceCall& call, double seconds) {
  estimate_ = seconds_of_call(call, 0, stream_);
  if (estimate_ > seconds) estimate_ = seconds_of_call(call, 1, stream_);
  if (estimate_ > seconds) return;
  for (int i = 1; i < 3; ++i) call(i, stream_);
  Stopwatch watch(stream_);
  for (int i = 0; i < 4; ++i) call(i, stream_);
  estimate_ = watch.stop() / 4;
}

void ReplayedCall::capture(const DeviceCall& call) {
  cudaGraph_t graph = nullptr;
  check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
  try {
    for (int i = 0; i < calls_; ++i) call(i, stream_);
  } catch (...) {
    // The stream is to be usable again.
    cudaStreamEndCapture(stream_, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  check_cuda(cudaStreamEndCapture(stream_, &graph), "capture");
  const cudaError_t made = cudaGraphInstantiate(&graph_, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(made, "cudaGraphInstantiate");
}

ReplayedCall::~ReplayedCall() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
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
