// Device memory with random content, and timing of calls by CUDA graphs.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "coppice/dtype.h"

namespace coppice::bench {

/// Throws std::runtime_error naming what failed.
void check_cuda(cudaError_t result, const char* doing);

/// Of the current device.
int multiprocessors();
/// Whether a kernel may begin before the last one has ended (compute capability 9.0 and later).
bool can_overlap_kernels();

/// Device memory, freed at the end.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes);
  DeviceMemory(DeviceMemory&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  DeviceMemory& operator=(DeviceMemory&&) = delete;
  ~DeviceMemory();
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
};

/// Operands of a timed product are rotated over copies of at least so many bytes together.
inline constexpr std::int64_t kRotatedBytes = std::int64_t{160} << 20;

/// Copies to rotate over where one takes so many bytes: at least two, and no more than a graph of
/// calls goes through.
std::int64_t rotated_copies(std::int64_t bytes);

/// `count` normally distributed numbers of f16, bf16 or f32, copied from a table of 8 M of them on
/// the device.
/// f8_e4m3: random bits (some of them NaN), for time alone.
DeviceMemory random_values(std::int64_t count, Dtype dtype, std::uint64_t seed);

/// Enqueues call number `i` on a stream; operands are rotated by `i`.
using DeviceCall = std::function<void(int, cudaStream_t)>;

/// Seconds of call number `i` alone.
double seconds_of_call(const DeviceCall& call, int i, cudaStream_t stream);

/// A graph of back-to-back calls of about `seconds`, ready to be replayed: at least four, of calls
/// that take longer two, and of such as take twice as long or longer than kSlowCall one.
class ReplayedCall {
 public:
  static constexpr double kSlowCall = 20e-3;

  ReplayedCall(const DeviceCall& call, cudaStream_t stream, double seconds);
  ReplayedCall(const ReplayedCall&) = delete;
  ReplayedCall& operator=(const ReplayedCall&) = delete;
  ~ReplayedCall();

  /// Calls in a graph, at most.
  static constexpr int kMostCalls = 2000;

  /// Seconds of one call, over one replay. `meanwhile` is called once the replay is enqueued.
  double replay(const std::function<void()>& meanwhile = {});

  bool is_slow() const { return estimate_ > kSlowCall; }
  /// About so many seconds in a replay.
  double length() const { return estimate_ * calls_; }

 private:
  void estimate(const DeviceCall& call, double seconds);
  void capture(const DeviceCall& call);
  cudaStream_t stream_;
  cudaGraphExec_t graph_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  int calls_ = 1;
  double estimate_ = 0;  // seconds of a call, before there was a graph
};

}  // namespace coppice::bench
