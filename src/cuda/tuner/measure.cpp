#include "cuda/tuner/measure.h"

#include <algorithm>
#include <random>

#include "cuda/multiply.h"
#include "cuda/tuner/sweep.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

constexpr int kRounds = 9;
constexpr std::size_t kHalf = 2;  // bytes of an element
constexpr std::int64_t kAligned = 64;

std::int64_t round_up(std::int64_t size) { return (size + kAligned - 1) / kAligned * kAligned; }

std::size_t matrix_bytes(std::int64_t tokens, std::int64_t features) {
  return static_cast<std::size_t>(round_up(tokens) * round_up(features)) * kHalf;
}

// Normally distributed: the power that a product takes, and so its speed, depends on the data.
void fill_random(const DeviceBuffer& buffer, Dtype dtype) {
  constexpr std::size_t kDrawn = std::size_t{1} << 18;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> drawn(std::min(kDrawn, buffer.bytes() / kHalf));
  for (float& value : drawn) value = normal(random);
  std::vector<std::byte> halves(drawn.size() * kHalf);
  from_float(dtype, drawn, halves.data());
  for (std::size_t at = 0; at < buffer.bytes(); at += halves.size())
    check(cudaMemcpy(buffer.as<std::byte>() + at, halves.data(),
                     std::min(halves.size(), buffer.bytes() - at), cudaMemcpyHostToDevice),
          "copying activations to the device");
}

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "creating an event"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  void record(Stream stream) const { check(cudaEventRecord(event_, stream), "recording an event"); }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

double seconds_between(const Event& begin, const Event& end) {
  check(cudaEventSynchronize(end.get()), "timing a product");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "reading a time");
  return 1e-3 * milliseconds;
}

double median(std::vector<double> samples) {
  const auto middle = samples.begin() + std::ssize(samples) / 2;
  std::ranges::nth_element(samples, middle);
  return *middle;
}

}  // namespace

TuneOperands::TuneOperands(const PackedWeight& weight, std::int64_t most_tokens)
    : weight_(weight),
      x_(matrix_bytes(most_tokens, weight.cols())),
      y_(matrix_bytes(most_tokens, weight.rows())),
      workspace_(matrix_bytes(most_tokens, weight.cols())),
      flush_(2 * static_cast<std::size_t>(weight.impl().device_info.l2_bytes)) {
  fill_random(x_, weight.dtype());
  check(cudaMemset(flush_.data(), 0, flush_.bytes()), "clearing the cache");
}

Matrix TuneOperands::input(std::int64_t tokens, Layout layout) const {
  const std::int64_t stride = round_up(layout == Layout::token_major ? weight_.cols() : tokens);
  return {x_.data(), weight_.dtype(), tokens, weight_.cols(), layout, stride};
}

std::vector<double> TuneOperands::seconds(std::span<const Selection> selections,
                                          std::int64_t tokens, Layout layout, Stream stream) const {
  const Matrix x = input(tokens, layout);
  const std::int64_t stride = round_up(layout == Layout::token_major ? weight_.rows() : tokens);
  const MutableMatrix y{y_.data(), weight_.dtype(), tokens, weight_.rows(), layout, stride};
  const Workspace workspace{workspace_.data(), static_cast<std::int64_t>(workspace_.bytes())};
  const Event begin, end;
  std::vector<std::vector<double>> samples(selections.size());
  for (int round = -1; round < kRounds; ++round)
    for (std::size_t i = 0; i < selections.size(); ++i) {
      // The sweep also gives the host time to enqueue the rest.
      launch_sweep(flush_.data(), flush_.bytes(), stream);
      begin.record(stream);
      multiply_by(selections[i], weight_, x, y, {}, workspace, stream);
      end.record(stream);
      const double seconds = seconds_between(begin, end);
      if (round >= 0) samples[i].push_back(seconds);
    }
  std::vector<double> medians;
  for (const std::vector<double>& one : samples) medians.push_back(median(one));
  return medians;
}

}  // namespace coppice::cuda
