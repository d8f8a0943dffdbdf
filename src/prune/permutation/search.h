// What the searches for input and output permutations share. Not part of the public API.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "coppice/permutation_search.h"

namespace coppice::prune {

/// Consecutive channels that share a choice: a group of columns, or a vector of rows.
struct Bin {
  std::int64_t first = 0;
  std::int32_t size = 0;
  std::size_t index = 0;  ///< in the grid
};

/// Bins between which channels may move: those of one segment.
using Segment = std::vector<Bin>;

/// The bins cut at the ends of segments (all in one if there are none); empty segments left out.
std::vector<Segment> split_segments(std::span<const Bin> bins,
                                    std::span<const std::int64_t> segments);

/// What channels are worth in bins.
class ExchangeModel {
 public:
  virtual ~ExchangeModel() = default;
  /// gains[i * bins.size() + j]: what the bin j keeps more if the channel at `slots[i]` fills its
  /// place `slots[j]`, up to a constant for the bin.
  virtual void exchange_gains(const Permutation& order, std::span<const Bin> bins,
                              std::span<const std::int64_t> slots, std::span<double> gains) = 0;
};

/// Numbers that are the same on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  /// Uniform in [0, count).
  std::uint64_t below(std::uint64_t count);

 private:
  std::uint64_t state_;
};

/// What an order is worth: the score that select_mask keeps under it.
using OrderScore = std::function<double(const Permutation&)>;

/// How a search ended.
struct SearchEnd {
  double kept_score = 0;
  std::int64_t passes = 0;
  bool converged = false;
};

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start);

/// Exchanges channels between bins by linear assignments until nothing is gained or a limit is met.
/// Gains can be estimates: every few passes the order is scored, and `order` becomes the best one
/// met. `order` comes in with the score `kept_score`.
SearchEnd exchange_channels(ExchangeModel& model, std::vector<Segment> segments,
                            const OrderScore& score, double total_score, double kept_score,
                            const PermutationOptions& options, Clock::time_point start,
                            Permutation& order);

}  // namespace coppice::prune
