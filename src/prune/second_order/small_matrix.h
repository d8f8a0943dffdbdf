// Cholesky factors of matrices so small that a call of LAPACK would take longer than the work. Not
// part of the public API.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>

namespace coppice::prune {

/// Replaces the lower triangle of a symmetric positive matrix `[n, n]` by L of L Lᵀ. @returns false
/// if it is not positive
inline bool factorise_small(double* a, int n) {
  for (int j = 0; j < n; ++j) {
    double* row = a + static_cast<std::ptrdiff_t>(j) * n;
    for (int i = 0; i <= j; ++i) {
      const double* other = a + static_cast<std::ptrdiff_t>(i) * n;
      double sum = row[i];
      for (int k = 0; k < i; ++k) sum -= row[k] * other[k];
      if (i < j) {
        row[i] = sum / other[i];
      } else if (sum > 0 && std::isfinite(sum)) {
        row[j] = std::sqrt(sum);
      } else {
        return false;
      }
    }
  }
  return true;
}

/// Replaces b by L⁻¹ b. @returns its squared length, bᵀ (L Lᵀ)⁻¹ b
inline double solve_small(const double* l, double* b, int n) {
  double length = 0;
  for (int i = 0; i < n; ++i, l += n) {
    for (int k = 0; k < i; ++k) b[i] -= l[k] * b[k];
    b[i] /= l[i];
    length += b[i] * b[i];
  }
  return length;
}

/// Replaces L, as `factorise_small` leaves it, by the whole symmetric (L Lᵀ)⁻¹.
inline void invert_factor(double* a, int n) {
  const auto at = [a, n](int r, int c) -> double& {
    return a[static_cast<std::ptrdiff_t>(r) * n + c];
  };
  for (int j = 0; j < n; ++j) {  // L⁻¹
    at(j, j) = 1 / at(j, j);
    for (int i = j + 1; i < n; ++i) {
      double sum = 0;
      for (int k = j; k < i; ++k) sum -= at(i, k) * at(k, j);
      at(i, j) = sum / at(i, i);
    }
  }
  for (int i = 0; i < n; ++i)  // (L⁻¹)ᵀ L⁻¹, row i: what is needed of L⁻¹ lies below
    for (int j = 0; j <= i; ++j) {
      double sum = 0;
      for (int k = i; k < n; ++k) sum += at(k, i) * at(k, j);
      at(i, j) = sum;
    }
  for (int i = 0; i < n; ++i)
    for (int j = i + 1; j < n; ++j) at(i, j) = at(j, i);
}

}  // namespace coppice::prune
