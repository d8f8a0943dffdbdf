// Replays of one call, and the SM clock meanwhile.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "bench/cuda/device.h"
#include "bench/cuda/sm_clock.h"
#include "bench/timing.h"

namespace coppice::bench {

class Samples {
 public:
  /// @param clocks reads the clock during so many replays.
  explicit Samples(const SmClock& clock, std::size_t clocks) : clock_(clock), most_(clocks) {}

  /// @param seconds of the replay.
  void add(ReplayedCall& call, double seconds) {
    seconds_.push_back(call.replay([&] {
      if (clocks_.size() >= most_) return;
      // In the middle of the replay: the clock falls within milliseconds where power is short.
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds / 2));
      clocks_.push_back(clock_.read());
    }));
  }
  Timing timing() const {
    const auto [least, most] = std::ranges::minmax(seconds_);
    return {median(seconds_), least, most, static_cast<int>(seconds_.size())};
  }
  unsigned clock() const { return static_cast<unsigned>(median(clocks_)); }

 private:
  const SmClock& clock_;
  std::size_t most_;
  std::vector<double> seconds_, clocks_;
};

}  // namespace coppice::bench
