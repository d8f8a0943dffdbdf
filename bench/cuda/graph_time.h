// What the rate programs share: random operands in device memory, and the time of calls that are
// enqueued back to back as one CUDA graph.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "coppice/dtype.h"
#include "cuda/check.h"

namespace coppice::cuda {

inline constexpr std::int64_t kRotation = std::int64_t{256} << 20;
inline constexpr int kReplays = 9;
inline constexpr int kLeastCalls = 8;

/// `copies` weights behind each other.
inline DeviceBuffer random_weights(std::int64_t elements, std::int64_t copies, Dtype dtype) {
  std::mt19937 engine(1);
  std::normal_distribution<float> normal(0, 0.02f);
  // A prime number of random values, over and over: drawing all of them would take minutes.
  constexpr std::size_t kDrawn = 1'000'003;
  std::vector<float> floats(static_cast<std::size_t>(elements));
  for (std::size_t i = 0; i < floats.size(); ++i)
    floats[i] = i < kDrawn ? normal(engine) : floats[i - kDrawn];
  std::vector<std::byte> bytes(floats.size() * static_cast<std::size_t>(dtype_bytes(dtype)));
  from_float(dtype, floats, bytes.data());
  DeviceBuffer buffer(bytes.size() * static_cast<std::size_t>(copies));
  for (std::int64_t i = 0; i < copies; ++i)
    check(cudaMemcpy(buffer.as<std::byte>() + i * std::ssize(bytes), bytes.data(), bytes.size(),
                     cudaMemcpyHostToDevice),
          "copying weights");
  return buffer;
}

/// Median microseconds of one call of `enqueue(call, stream)`.
inline double microseconds(int calls, const std::function<void(int, cudaStream_t)>& enqueue) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  cudaEvent_t begin, end;
  check(cudaStreamCreate(&stream), "creating a stream");
  check(cudaEventCreate(&begin), "creating an event");
  check(cudaEventCreate(&end), "creating an event");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  for (int call = 0; call < calls; ++call) enqueue(call, stream);
  check(cudaStreamEndCapture(stream, &graph), "capturing");
  check(cudaGraphInstantiate(&executable, graph, 0), "making a graph");
  std::vector<float> times;
  for (int i = -2; i < kReplays; ++i) {
    check(cudaEventRecord(begin, stream), "recording");
    check(cudaGraphLaunch(executable, stream), "launching");
    check(cudaEventRecord(end, stream), "recording");
    check(cudaEventSynchronize(end), "waiting");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "reading a time");
    if (i >= 0) times.push_back(milliseconds);
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaStreamDestroy(stream);
  std::ranges::nth_element(times, times.begin() + kReplays / 2);
  return 1e3 * times[kReplays / 2] / calls;
}

}  // namespace coppice::cuda
