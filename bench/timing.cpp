#include "bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

namespace coppice::bench {
namespace {

// One of the two things timed, with its samples.
class Side {
 public:
  Side(const TimedCall& call, const TimingOptions& options) : call_(call), options_(options) {}

  void phase() {
    if (!call_) return;
    const double once = sample(1);  // warms up, and tells how often to repeat
    const int repeats =
        std::clamp(static_cast<int>(std::ceil(options_.sample_seconds / once)), 1, 10000);
    for (int i = 0; i < options_.samples; ++i) samples_.push_back(sample(repeats));
    if (options_.pause_seconds > 0)
      std::this_thread::sleep_for(std::chrono::duration<double>(options_.pause_seconds));
  }

  Timing timing() const {
    if (samples_.empty()) return {};
    const auto [low, high] = std::ranges::minmax(samples_);
    return {median(samples_), low, high, static_cast<int>(samples_.size())};
  }

 private:
  double sample(int repeats) {
    const double start = now_seconds();
    for (int i = 0; i < repeats; ++i) call_(turn_++);
    return std::max(now_seconds() - start, 1e-9) / repeats;
  }

  const TimedCall& call_;
  const TimingOptions& options_;
  std::vector<double> samples_;
  int turn_ = 0;
};

}  // namespace

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> samples) {
  if (samples.empty()) return 0;
  const auto middle = samples.begin() + std::ssize(samples) / 2;
  std::ranges::nth_element(samples, middle);
  if (samples.size() % 2 == 1) return *middle;
  return (*std::max_element(samples.begin(), middle) + *middle) / 2;
}

InterleavedTiming time_interleaved(const TimedCall& baseline, const TimedCall& candidate,
                                   const TimingOptions& options) {
  Side a(baseline, options), b(candidate, options);
  a.phase();
  for (int round = 0; round < options.rounds; ++round) {
    b.phase();
    a.phase();
  }
  return {a.timing(), b.timing()};
}

}  // namespace coppice::bench
