// The streaming ceiling of a GPU: how fast a kernel reads that does nothing else.
#pragma once

#include <cstdint>
#include <map>

#include "bench/cuda/device.h"

namespace coppice::bench {

/// Enqueues a kernel that reads bytes (a multiple of 16, 16-byte aligned) and does nothing with
/// them. `sink`: 4096 bytes that it could write to.
void launch_stream_read(const std::byte* data, std::int64_t bytes, std::byte* sink,
                        cudaStream_t stream);

/// Measures it when asked, once for a size. Reads of a size are rotated over a large buffer of
/// random numbers, back to back in a graph, as the operands of timed products are.
class StreamCeiling {
 public:
  explicit StreamCeiling(cudaStream_t stream) : stream_(stream) {}

  /// Bytes per second of reads of 256 MB: the device's ceiling.
  double bandwidth() { return bandwidth_of(kLargeRead); }
  /// Of reads about as large as `bytes` (within 5 %): what a product that moves so much could
  /// reach.
  double bandwidth_of(std::int64_t bytes);

  static constexpr std::int64_t kLargeRead = std::int64_t{256} << 20;

 private:
  double measure(std::int64_t bytes);

  cudaStream_t stream_;
  std::vector<DeviceMemory> buffer_;  // none, or one
  std::int64_t buffer_bytes_ = 0;
  std::map<std::int64_t, double> known_;
};

}  // namespace coppice::bench
