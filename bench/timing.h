// Clocks and medians.
#pragma once

#include <functional>
#include <vector>

namespace coppice::bench {

/// A monotonic clock, in seconds.
double now_seconds();

/// The median, of an even number the mean of the middle two; 0 of nothing.
double median(std::vector<double> samples);

/// Something to time. It is called with 0, 1, 2, ... so that it can rotate its operands.
using TimedCall = std::function<void(int)>;

struct TimingOptions {
  int rounds = 3;   ///< A B A B A ...: B runs in `rounds` phases, A before and after each
  int samples = 4;  ///< samples of one phase
  double sample_seconds = 2e-3;  ///< short calls are repeated within a sample to last this long
  double pause_seconds = 0;      ///< sleep between phases (see Baseline)
};

struct Timing {
  double median_seconds = 0;
  double min_seconds = 0, max_seconds = 0;
  int samples = 0;
};

struct InterleavedTiming {
  Timing baseline, candidate;
};

/// Times `candidate`, between phases of `baseline` if that is not empty. Every phase begins with
/// one call that does not count.
InterleavedTiming time_interleaved(const TimedCall& baseline, const TimedCall& candidate,
                                   const TimingOptions& options);

}  // namespace coppice::bench
