// How long and how often everything is timed (docs/performance/model.md).
#pragma once

#include "bench/timing.h"

namespace coppice::bench {

inline constexpr int kReplays = 7;
inline constexpr double kReplaySeconds = 8e-3;  // of a graph of back-to-back calls

/// The same where many kernels are timed and a few percent do not matter.
inline constexpr int kQuickReplays = 3;
inline constexpr double kQuickSeconds = 4e-3;

/// The same for a grid of a thousand products: shorter replays, and the dense product, which all
/// kinds of weights share, runs before, after, and between every three of the sparse ones.
inline constexpr double kGridSeconds = 1.5e-3;
inline constexpr int kGridPerBaseline = 3;
inline constexpr int kGridClocks = 1, kGridErrorSamples = 4;
/// A dense product whose replay is longer runs only before and after.
inline constexpr double kLongReplay = 10e-3;
/// Of calls slower than ReplayedCall::kSlowCall.
inline constexpr int kSlowReplays = 3;

}  // namespace coppice::bench
