#include "prune/second_order/fisher_savings.h"

#include <numeric>

namespace coppice::prune {

// K_SS in system_.matrix by its factor, the gradient in system_.vector.
bool FisherSavings::factorise(const GroupCurvature& row, const UnitList& base) {
  const std::size_t n = base.size();
  system_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    system_.vector[i] = row.gradient[base[i]];
    for (std::size_t j = 0; j <= i; ++j) system_.matrix[i * n + j] = row.at(base[i], base[j]);
  }
  return factorise_small(system_.matrix.data(), static_cast<int>(n));
}

void FisherSavings::add(const GroupCurvature& row, const UnitList& base, const UnitList& candidates,
                        std::span<double> values) {
  if (!factorise(row, base)) return;
  const std::size_t n = base.size();
  const int size = static_cast<int>(n);
  const double saved = solve_small(system_.matrix.data(), system_.vector.data(), size);
  solution_.resize(n);
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    const std::size_t column = candidates[c];
    for (std::size_t i = 0; i < n; ++i) solution_[i] = row.at(column, base[i]);
    const double curvature =
        row.at(column, column) - solve_small(system_.matrix.data(), solution_.data(), size);
    const double gradient =
        row.gradient[column] -
        std::inner_product(solution_.begin(), solution_.end(), system_.vector.begin(), 0.0);
    values[c] += saved + (curvature > 0 ? gradient * gradient / curvature : 0);
  }
}

// Of each candidate c what K and the gradient have left beside the kept columns S: projected_
// K_SS⁻¹ K_Sc, curvature_ K_cc - K_cS K_SS⁻¹ K_Sc, gradient_ likewise. system_.matrix becomes
// K_SS⁻¹, solution_ K_SS⁻¹ g_S.
void FisherSavings::project(const GroupCurvature& row, const UnitList& kept,
                            const UnitList& candidates) {
  const std::size_t n = kept.size(), count = candidates.size();
  invert_factor(system_.matrix.data(), static_cast<int>(n));
  solution_.assign(n, 0.0);
  across_.resize(n * count);
  projected_.assign(n * count, 0.0);
  curvature_.resize(count);
  gradient_.resize(count);
  for (std::size_t c = 0; c < count; ++c) {
    curvature_[c] = row.at(candidates[c], candidates[c]);
    gradient_[c] = row.gradient[candidates[c]];
    for (std::size_t j = 0; j < n; ++j) across_[j * count + c] = row.at(kept[j], candidates[c]);
  }
  for (std::size_t i = 0; i < n; ++i) {
    double* projected = projected_.data() + i * count;
    for (std::size_t j = 0; j < n; ++j) {
      const double inverse = system_.matrix[i * n + j], *across = across_.data() + j * count;
      solution_[i] += inverse * system_.vector[j];
      for (std::size_t c = 0; c < count; ++c) projected[c] += inverse * across[c];
    }
    const double *across = across_.data() + i * count, solution = solution_[i];
    for (std::size_t c = 0; c < count; ++c) {
      curvature_[c] -= across[c] * projected[c];
      gradient_[c] -= across[c] * solution;
    }
  }
}

// Without kept[p], K_SS⁻¹ loses a matrix of rank one, and what is left of a candidate gains one.
void FisherSavings::add_exchanges(const GroupCurvature& row, const UnitList& kept,
                                  const UnitList& candidates, std::span<double> values) {
  const std::size_t n = kept.size(), count = candidates.size();
  if (!factorise(row, kept)) {
    for (std::size_t p = 0; p < n; ++p) {
      UnitList base = kept;
      base.erase(base.begin() + static_cast<std::ptrdiff_t>(p));
      add(row, base, candidates, values.subspan(p * count, count));
    }
    return;
  }
  project(row, kept, candidates);
  const double saved =
      std::inner_product(solution_.begin(), solution_.end(), system_.vector.begin(), 0.0);
  for (std::size_t p = 0; p < n; ++p) {
    const double own = 1 / system_.matrix[p * n + p], part = solution_[p] * own;
    const double rest = saved - solution_[p] * part, *projected = projected_.data() + p * count;
    double* out = values.data() + p * count;
    for (std::size_t c = 0; c < count; ++c) {
      const double curvature = curvature_[c] + projected[c] * projected[c] * own;
      const double gradient = gradient_[c] + projected[c] * part;
      out[c] += rest + (curvature > 0 ? gradient * gradient / curvature : 0);
    }
  }
}

}  // namespace coppice::prune
