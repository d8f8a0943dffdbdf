// A graph of back-to-back calls, timed as a whole.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <memory>

namespace coppice::cuda {

/// Handles of the runtime that are given back at the end.
struct DestroyHandle {
  void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
template <typename Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, DestroyHandle>;

class Replay {
 public:
  /// Enqueues call number `i`, from 0.
  using Call = std::function<void(std::size_t i, cudaStream_t stream)>;

  /// Captures as many calls as take about `seconds`, and runs them once. `stream` must not be the
  /// default stream, and outlive it.
  Replay(const Call& call, cudaStream_t stream, double seconds);

  /// Runs the graph, waits for it. @returns seconds of one call.
  double run();

 private:
  double time(const std::function<void()>& work) const;

  cudaStream_t stream_;
  Owned<cudaEvent_t> begin_, end_;
  Owned<cudaGraphExec_t> graph_;
  std::size_t calls_ = 1;
};

}  // namespace coppice::cuda
