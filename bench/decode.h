// Products of few tokens: what they must move, and how near to the streaming ceiling they come.
#pragma once

#include <cstdint>

#include "bench/bench.h"

namespace coppice::bench {

/// Up to so many tokens a product is bound by the bytes of its weight.
inline constexpr std::int64_t kDecodeTokens = 64;

/// Bytes that a product reads and writes at least once.
struct Traffic {
  std::int64_t weight = 0;  ///< own bytes: the canonical form's
  std::int64_t activations = 0, outputs = 0;
  std::int64_t total() const { return weight + activations + outputs; }
};

/// Of a product whose activations and outputs have the weight's dtype.
Traffic traffic(const BenchCase& c);

/// What a device streams, bytes per second.
struct StreamRates {
  double ceiling = 0;    ///< of a long read
  double same_size = 0;  ///< of a read about as large as the product's traffic
};

/// How a timed product used the memory. All 0 where nothing was measured.
struct Streaming {
  Traffic bytes;
  StreamRates rates;
  double seconds = 0;  ///< of the product

  double bandwidth() const;      ///< bytes / seconds: the own-bytes bandwidth
  double of_ceiling() const;     ///< bandwidth / ceiling
  double floor_seconds() const;  ///< of merely reading as many bytes, at `same_size`
  double of_floor() const;       ///< floor / seconds
};

}  // namespace coppice::bench
