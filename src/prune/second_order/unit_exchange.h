// Better choices of some of several things by exchanging kept ones for others. Not part of the
// public API.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

namespace coppice::prune {

using UnitList = std::vector<std::size_t>;

/// Looks for `keep` of `units` things of large value. Scan: scan(base, candidates, values) sets
/// values[i] to the value of keeping the things in `base` and candidates[i]. A scan may have
/// exchanges(kept, candidates, values) as well, which sets values[p * candidates + i] to about the
/// value of `kept` with candidates[i] in the place of kept[p], for all p and i in one go.
template <typename Scan>
class UnitExchange {
 public:
  /// @param at_once  things that change places together, at most: 1 or 2
  UnitExchange(std::size_t units, std::size_t at_once, Scan scan)
      : units_(units), at_once_(at_once), scan_(std::move(scan)) {}

  /// The best of three starts, after exchanges: two given ones, and what the better of them does
  /// not keep.
  UnitList best_of(UnitList kept, UnitList other) {
    double best = improve(kept);
    const auto try_start = [&](UnitList start) {
      const double value = improve(start);
      if (value <= best * (1 + kGain)) return;
      best = value;
      kept = std::move(start);
    };
    try_start(std::move(other));
    UnitList opposite(units_);
    std::iota(opposite.begin(), opposite.end(), std::size_t{0});
    std::ranges::stable_partition(
        opposite, [&](std::size_t unit) { return std::ranges::count(kept, unit) == 0; });
    opposite.resize(kept.size());
    try_start(std::move(opposite));
    return kept;
  }

 private:
  // What an exchange has to gain, as a share: more than rounding.
  static constexpr double kGain = 1e-10;

  // Exchanges while that helps, the best exchange first, two at a time where one does not help.
  // @returns the value
  double improve(UnitList& kept) {
    if (kept.empty()) return 0;
    const std::size_t last = kept.back();
    base_.assign(kept.begin(), kept.end() - 1);
    scan_(base_, UnitList{last}, values_);
    double current = values_[0];
    for (std::size_t count = 1, pass = 0; count <= at_once_ && pass < 2 * units_; ++pass) {
      UnitList best;
      double most = current;
      (count == 1) ? try_single(kept, best, most) : try_pairs(kept, best, most);
      const bool gained = most - current > kGain * current;
      if (gained) {
        kept = best;
        current = most;
      }
      count = gained ? 1 : count + 1;
    }
    return current;
  }

  UnitList others(const UnitList& kept) const {
    UnitList others;
    for (std::size_t unit = 0; unit < units_; ++unit)
      if (std::ranges::count(kept, unit) == 0) others.push_back(unit);
    return others;
  }

  // Keeps base_ and the best of the candidates, if that is better than the best so far.
  void try_candidates(const UnitList& candidates, UnitList& best, double& most) {
    scan_(base_, candidates, values_);
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (!(values_[i] > most)) continue;
      most = values_[i];
      best = base_;
      best.push_back(candidates[i]);
    }
  }

  void try_single(const UnitList& kept, UnitList& best, double& most) {
    const UnitList candidates = others(kept);
    if constexpr (requires { scan_.exchanges(kept, candidates, values_); }) {
      if (candidates.empty()) return;
      scan_.exchanges(kept, candidates, values_);
      const std::ptrdiff_t place = std::ranges::max_element(values_) - values_.begin(),
                           count = std::ssize(candidates);
      base_ = kept;
      base_.erase(base_.begin() + place / count);
      try_candidates({candidates[static_cast<std::size_t>(place % count)]}, best, most);
      return;
    }
    for (std::size_t p = 0; p < kept.size(); ++p) {
      base_ = kept;
      base_.erase(base_.begin() + static_cast<std::ptrdiff_t>(p));
      try_candidates(candidates, best, most);
    }
  }

  void try_pairs(const UnitList& kept, UnitList& best, double& most) {
    const UnitList all = others(kept);
    for (std::size_t p = 0; p < kept.size(); ++p)
      for (std::size_t q = p + 1; q < kept.size(); ++q)
        for (std::size_t first = 0; first < all.size(); ++first) {
          base_ = kept;
          base_.erase(base_.begin() + static_cast<std::ptrdiff_t>(q));
          base_[p] = all[first];
          try_candidates(UnitList(all.begin() + static_cast<std::ptrdiff_t>(first) + 1, all.end()),
                         best, most);
        }
  }

  std::size_t units_, at_once_;
  Scan scan_;
  UnitList base_;
  std::vector<double> values_;
};

}  // namespace coppice::prune
