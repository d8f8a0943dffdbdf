#include <algorithm>
#include <cmath>

#include "bench/cuda/stream_read.h"
#include "bench/timing.h"

namespace coppice::bench {
namespace {

constexpr std::int64_t kAlignment = 4096;
constexpr std::int64_t kSinkBytes = 4096;
constexpr int kReplays = 7;
constexpr double kReplaySeconds = 4e-3;

// Sizes a twentieth apart, so that nearly equal products share a measurement.
std::int64_t rounded(std::int64_t bytes) {
  const double step = std::log(1.05);
  const double size = std::exp(std::round(std::log(static_cast<double>(bytes)) / step) * step);
  return std::max<std::int64_t>(1, std::llround(size / kAlignment)) * kAlignment;
}

}  // namespace

double StreamCeiling::bandwidth_of(std::int64_t bytes) {
  const std::int64_t size = rounded(std::max(bytes, kAlignment));
  const auto [entry, is_new] = known_.try_emplace(size);
  if (is_new) entry->second = measure(size);
  return entry->second;
}

double StreamCeiling::measure(std::int64_t bytes) {
  // Twice the large read, so that L2 holds nothing of the next one; twice the read, if larger.
  const std::int64_t wanted = 2 * std::max(kLargeRead + (kLargeRead >> 4), bytes);
  if (buffer_bytes_ < wanted) {
    buffer_.clear();
    buffer_.push_back(random_values((wanted + kSinkBytes) / 2, Dtype::f16, 5));
    buffer_bytes_ = wanted;
  }
  const std::byte* data = buffer_[0].data();
  std::byte* sink = buffer_[0].data() + buffer_bytes_;
  const std::int64_t copies = buffer_bytes_ / bytes;
  ReplayedCall replayed(
      [=](int i, cudaStream_t stream) {
        launch_stream_read(data + i % copies * bytes, bytes, sink, stream);
      },
      stream_, kReplaySeconds);
  std::vector<double> seconds;
  for (int i = 0; i < kReplays; ++i) seconds.push_back(replayed.replay());
  return static_cast<double>(bytes) / median(seconds);
}

}  // namespace coppice::bench
