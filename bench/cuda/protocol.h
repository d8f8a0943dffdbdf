// How long and how often everything is timed (docs/performance/model.md).
#pragma once

#include "bench/timing.h"

namespace coppice::bench {

inline constexpr int kReplays = 7;
inline constexpr double kReplaySeconds = 8e-3;  // of a graph of back-to-back calls

/// The same where many kernels are timed and a few percent do not matter.
inline constexpr int kQuickReplays = 3;
inline constexpr double kQuickSeconds = 4e-3;

}  // namespace coppice::bench
