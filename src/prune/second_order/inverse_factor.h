// The inverse of a Gram matrix as a triangle. Not part of the public API.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "prune/second_order/gram_view.h"

namespace coppice::prune {

/// U, upper, with UᵀU = H⁻¹ and H = gram / (mean of its diagonal) + damping I. What is left of H
/// when the first c columns are taken away has the inverse U_FFᵀ U_FF, F being the columns from c
/// on: so one triangle serves all steps of a sweep over the columns.
struct InverseFactor {
  std::int64_t cols = 0;
  std::vector<float> upper;  ///< [cols, cols]; below the diagonal 0
  double damping = 0;        ///< used
  std::int64_t dead = 0;     ///< columns with a diagonal of zero

  const float* row(std::int64_t r) const { return upper.data() + r * cols; }
  float at(std::int64_t r, std::int64_t c) const { return row(r)[c]; }
};

/// Throws InvalidArgument if the diagonal has a negative number or one that is not finite.
/// Raises the damping by tens where the factorisation fails. @returns nothing if all failed, or if
/// the diagonal is zero
std::optional<InverseFactor> factorise_inverse(const GramView& gram, double damping);

/// One attempt of it. @returns false if H is not positive, or U does not fit floats
bool invert_damped(const GramView& gram, double mean, double damping, std::vector<float>& upper);

/// The same with attempts that are made elsewhere.
std::optional<InverseFactor> factorise_inverse(
    const GramView& gram, double damping,
    const std::function<bool(double mean, double damping, std::vector<float>& upper)>& attempt);

/// What a damping adds to an entry of the diagonal, in units of its mean. Columns without input
/// get so little, beside the others, that they are pruned first, and of them the smallest weights.
constexpr double damping_of(double diagonal, double damping) {
  constexpr double kDead = 1e-8, kLeast = 1e-6;
  return diagonal > 0 ? damping : (damping > kLeast ? damping : kLeast) * kDead;
}

/// Mean of the diagonal. Throws InvalidArgument as factorise_inverse.
double mean_of_diagonal(const GramView& gram);

/// H of InverseFactor, the diagonal and above; `[cols, cols]`. The diagonal of `gram` is not zero.
std::vector<double> damped_gram(const GramView& gram, double damping);

}  // namespace coppice::prune
