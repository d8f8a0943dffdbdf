// ADMM and its refinement for some rows, on the CPU. Not part of the public API.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "prune/second_order/candidate.h"
#include "prune/second_order/lapack.h"
#include "prune/second_order/scaled_system.h"
#include "prune/second_order/support.h"

namespace coppice::prune {

/// After so many iterations the penalty is looked at again.
inline constexpr int kPenaltyPeriod = 3;

/// The more of the support moves, the faster the penalty may grow (ALPS, section 3.1).
inline double penalty_growth(std::int64_t moved, std::int64_t kept) {
  const double share =
      static_cast<double>(moved) / static_cast<double>(std::max<std::int64_t>(kept, 1));
  return share >= 0.1 ? 1.3 : share >= 0.005 ? 1.2 : 1.1;
}

/// Some rows, in the units of the scaled system; all matrices are [rows, cols].
class AdmmRows {
 public:
  AdmmRows(const UpdateProblem& problem, const ScaledSystem& system,
           std::span<const RowVector> vectors);

  /// @returns iterations taken
  int iterate(const AdmmOptions& options);

  /// Starts from pruned weights instead.
  void load(const Candidate& from);

  /// For each row the best weights on its support, by conjugate gradients. The diagonal of the
  /// scaled system is 1, which makes them preconditioned.
  void refine(int steps);

  void store(Candidate& to) const;

 private:
  Panel<const float> panel(const std::vector<float>& m) const {
    return {m.data(), rows_, cols_, cols_};
  }
  Panel<float> mutable_panel(std::vector<float>& m) const {
    return {m.data(), rows_, cols_, cols_};
  }
  double dot(const std::vector<float>& a, const std::vector<float>& b, std::int64_t row) const;
  void step(const std::vector<float>& target, float penalty, std::vector<float>& dual,
            std::vector<float>& product);
  void advance(std::int64_t row, double& norm, std::vector<float>& residual,
               std::vector<float>& direction, const std::vector<float>& product);

  const ScaledSystem& system_;
  Support support_;
  std::int64_t first_, rows_, cols_;
  std::vector<float> start_, weights_;  // W0, D
};

}  // namespace coppice::prune
