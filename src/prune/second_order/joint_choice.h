// A group's mask from what sets of its weights cost together. Not part of the public API.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "prune/second_order/group_slab.h"
#include "prune/second_order/inverse_factor.h"

namespace coppice::prune {

/// Every set of columns that a row may keep of a group of some shape, and which of them a vector
/// may mix: the outer choices, each a list of sets that its rows choose among.
struct KeptSets {
  int cols = 0, kept = 0;             ///< of the group; of them in each set
  int per_outer = 0;                  ///< sets in an outer choice
  std::vector<std::uint8_t> columns;  ///< [sets, kept], ascending
  std::vector<std::uint16_t> outer;   ///< [outer choices, per_outer]

  std::int64_t sets() const { return std::ssize(columns) / kept; }
  std::int64_t outers() const { return std::ssize(outer) / per_outer; }
  const std::uint8_t* set(std::int64_t index) const { return columns.data() + index * kept; }
};

/// @returns null if there are too many sets to try all of them on every row
std::shared_ptr<const KeptSets> list_kept_sets(const ColumnGroup& group);

/// The outer choice whose best sets save most in all rows together. savings: [rows, sets]
std::int64_t best_outer(const KeptSets& sets, const std::vector<double>& savings,
                        std::int64_t rows);

/// The set of an outer choice that saves most in a row. savings: [sets]
std::int64_t best_inner(const KeptSets& sets, std::int64_t outer, const double* savings);

/// Joint choice in one group. With the weights before the group settled and those after it free,
/// a row w of the group that becomes v costs (w - v)ᵀ K (w - v), K = (U_GGᵀ U_GG)⁻¹. Of the rows
/// that are zero outside of the set P the best is v_P = K_PP⁻¹ (K w)_P, and it costs
/// wᵀ K w - (K w)_Pᵀ K_PP⁻¹ (K w)_P: the last term is what P saves.
class JointGroup {
 public:
  JointGroup(std::shared_ptr<const KeptSets> sets, const InverseFactor& factor,
             const ColumnGroup& group);

  /// False if a set's part of K is singular to rounding.
  bool usable() const { return usable_; }

  /// Chooses for every vector, and replaces the weights of the group by the best ones for the
  /// choice. errors: e with w - v = U_GGᵀ e, so that the columns after the group have to take
  /// e U_G,. off; [rows, *] with `error_stride`.
  void choose(const GroupSlab& slab, float* errors, std::int64_t error_stride) const;

  /// What `choose` reads, for choices made elsewhere: U_GG⁻¹ (upper) and K, [cols, cols], and for
  /// each set L⁻¹ of K_PP = L Lᵀ, [sets, kept, kept].
  const KeptSets& sets() const { return *sets_; }
  const std::vector<double>& inverse() const { return inverse_; }
  const std::vector<double>& curvature() const { return curvature_; }
  const std::vector<double>& set_factors() const { return set_factors_; }

 private:
  const double* factor_of(std::int64_t set) const {
    return set_factors_.data() + set * sets_->kept * sets_->kept;
  }
  double saving(std::int64_t set, const double* gradient) const;
  void gradient(const float* row, double* out) const;
  void settle(float* row, std::uint8_t* keep, std::int64_t set, float* errors) const;

  std::shared_ptr<const KeptSets> sets_;
  bool usable_ = true;
  std::vector<double> inverse_, curvature_, set_factors_;
};

}  // namespace coppice::prune
