#include "prune/permutation/search.h"

#include <algorithm>
#include <utility>

#include "coppice/cancel.h"
#include "prune/permutation/assignment.h"

namespace coppice::prune {
namespace {

constexpr std::int64_t kFastAssignment = 256;
constexpr std::int64_t kShortestWindow = 8, kLongestWindow = 16;  // passes between two scores

class Search {
 public:
  Search(ExchangeModel& model, const OrderScore& score, const PermutationOptions& options,
         Clock::time_point start, Permutation order)
      : model_(model),
        score_(score),
        options_(options),
        start_(start),
        order_(std::move(order)),
        random_(options.seed) {}

  // Leaves the best order in `best`, whose score comes in.
  SearchEnd run(std::vector<Segment> segments, double total_score, double kept_score,
                Permutation& best) {
    std::int64_t window = kShortestWindow;
    for (const Segment& segment : segments)
      for (const Bin& bin : segment) window = std::max<std::int64_t>(window, bin.size);
    window = std::min(window, kLongestWindow);
    end_.kept_score = kept_score;
    bool stopped = false;
    while (!stopped && !end_.converged && end_.passes < options_.max_passes) {
      for (std::int64_t i = 0; i < window && !stopped && end_.passes < options_.max_passes; ++i) {
        stopped = !pass(segments);
        if (!stopped) ++end_.passes;
      }
      const double before = end_.kept_score;
      if (const double kept = score_(order_); kept > before) {
        end_.kept_score = kept;
        best = order_;
      }
      end_.converged = !stopped && end_.passes < options_.max_passes &&
                       end_.kept_score - before <= options_.tolerance * total_score;
    }
    return end_;
  }

 private:
  bool pass(std::vector<Segment>& segments) {
    return std::ranges::all_of(segments, [&](Segment& segment) { return pass(segment); });
  }

  // Every bin of a segment takes part in one assignment. @returns whether to go on
  bool pass(Segment& segment) {
    if (segment.size() < 2) return true;
    for (std::size_t i = segment.size(); i > 1; --i)
      std::swap(segment[i - 1], segment[random_.below(i)]);
    const auto most = static_cast<std::size_t>(
        options_.assignment_size > 0 ? options_.assignment_size : kFastAssignment);
    const std::size_t parts = (segment.size() + most - 1) / most;
    for (std::size_t part = 0; part < parts; ++part) {
      const std::size_t begin = segment.size() * part / parts;
      const std::size_t end = segment.size() * (part + 1) / parts;
      if (!go_on()) return false;
      exchange(std::span(segment).subspan(begin, end - begin));
    }
    return true;
  }

  void exchange(std::span<const Bin> bins) {
    slots_.clear();
    for (const Bin& bin : bins)
      slots_.push_back(bin.first + static_cast<std::int64_t>(
                                       random_.below(static_cast<std::uint64_t>(bin.size))));
    const std::size_t count = bins.size();
    gains_.assign(count * count, 0);
    model_.exchange_gains(order_, bins, slots_, gains_);
    const std::vector<std::uint32_t> bin_of = solve_assignment(gains_, count);
    double gain = 0;
    for (std::size_t i = 0; i < count; ++i)
      gain += gains_[i * count + bin_of[i]] - gains_[i * count + i];
    if (!(gain > 0)) return;
    gain_ += gain;
    moved_.resize(count);
    for (std::size_t i = 0; i < count; ++i)
      moved_[bin_of[i]] = order_[static_cast<std::size_t>(slots_[i])];
    for (std::size_t i = 0; i < count; ++i) order_[static_cast<std::size_t>(slots_[i])] = moved_[i];
  }

  bool go_on() {
    throw_if_cancelled();
    const double seconds = seconds_since(start_);
    if (options_.progress &&
        !options_.progress({seconds, options_.limit_seconds, end_.passes, gain_}))
      return false;
    return seconds < options_.limit_seconds;
  }

  ExchangeModel& model_;
  const OrderScore& score_;
  const PermutationOptions& options_;
  Clock::time_point start_;
  Permutation order_;
  Random random_;
  double gain_ = 0;
  SearchEnd end_;
  std::vector<std::int64_t> slots_;
  std::vector<double> gains_;
  Permutation moved_;
};

}  // namespace

std::vector<Segment> split_segments(std::span<const Bin> bins,
                                    std::span<const std::int64_t> segments) {
  if (bins.empty()) return {};
  if (segments.empty()) return {Segment(bins.begin(), bins.end())};
  std::vector<Segment> result;
  std::int64_t end = 0;
  std::size_t next = 0;
  for (std::int64_t length : segments) {
    end += length;
    Segment segment;
    for (; next < bins.size() && bins[next].first < end; ++next) segment.push_back(bins[next]);
    if (!segment.empty()) result.push_back(std::move(segment));
  }
  return result;
}

// SplitMix64 (Steele, Lea and Flood, 2014).
std::uint64_t Random::below(std::uint64_t count) {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return (z ^ (z >> 31)) % count;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

SearchEnd exchange_channels(ExchangeModel& model, std::vector<Segment> segments,
                            const OrderScore& score, double total_score, double kept_score,
                            const PermutationOptions& options, Clock::time_point start,
                            Permutation& order) {
  return Search(model, score, options, start, order)
      .run(std::move(segments), total_score, kept_score, order);
}

}  // namespace coppice::prune
