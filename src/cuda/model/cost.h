// What a predicted time is made of.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace coppice::cuda::model {

/// What a product waits for most of the time.
enum class Limit : std::uint8_t { memory, tensor, cores, l2, shared, latency, launch };

/// Such as "shared memory".
std::string_view limit_name(Limit limit);

/// Seconds of every level as if the others were free, and of the whole.
struct Cost {
  double memory = 0;   ///< bytes over the memory's rate
  double tensor = 0;   ///< operations of tensor cores
  double cores = 0;    ///< instructions of CUDA cores
  double l2 = 0;       ///< bytes from L2 to the multiprocessors
  double shared = 0;   ///< bytes through shared memory
  double latency = 0;  ///< of steps that are too short for their copies
  double launch = 0;   ///< start, first copies, outputs, barriers: what nothing hides
  double seconds = 0;
  Limit limit = Limit::launch;

  /// Levels at work together: the slowest counts, and what nothing hides is added.
  void combine() {
    struct Level {
      double seconds;
      Limit limit;
    };
    Level slowest{launch, Limit::launch};
    double longest = 0;
    for (const Level& level :
         {Level{memory, Limit::memory}, Level{tensor, Limit::tensor}, Level{cores, Limit::cores},
          Level{l2, Limit::l2}, Level{shared, Limit::shared}, Level{latency, Limit::latency}}) {
      longest = std::max(longest, level.seconds);
      if (level.seconds > slowest.seconds) slowest = level;
    }
    seconds = longest + launch;
    limit = slowest.limit;
  }
};

}  // namespace coppice::cuda::model
