#include "cuda/tuner/replay.h"

#include <algorithm>

#include "cuda/check.h"

namespace coppice::cuda {
namespace {

Owned<cudaEvent_t> make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "creating an event");
  return Owned<cudaEvent_t>(event);
}

}  // namespace

Replay::Replay(const Call& call, cudaStream_t stream, double seconds)
    : stream_(stream), begin_(make_event()), end_(make_event()) {
  constexpr std::size_t kTrial = 3, kLeast = 4, kMost = 1000;
  call(0, stream);  // loads the kernel
  const double trial = time([&] {
    for (std::size_t i = 0; i < kTrial; ++i) call(i, stream);
  });
  calls_ =
      std::clamp(static_cast<std::size_t>(seconds * kTrial / std::max(trial, 1e-6)), kLeast, kMost);
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing products");
  for (std::size_t i = 0; i < calls_; ++i) call(i, stream);
  check(cudaStreamEndCapture(stream, &graph), "capturing products");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
  graph_.reset(executable);
  cudaGraphDestroy(graph);
  check(made, "making a graph of products");
  run();
}

double Replay::time(const std::function<void()>& work) const {
  check(cudaEventRecord(begin_.get(), stream_), "recording an event");
  work();
  check(cudaEventRecord(end_.get(), stream_), "recording an event");
  check(cudaEventSynchronize(end_.get()), "timing products");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "reading a time");
  return 1e-3 * milliseconds;
}

double Replay::run() {
  return time([&] { check(cudaGraphLaunch(graph_.get(), stream_), "timing products"); }) /
         static_cast<double>(calls_);
}

}  // namespace coppice::cuda
