// What keeping sets of a group's weights saves. Not part of the public API.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "coppice/grid.h"
#include "prune/second_order/fisher_rows.h"
#include "prune/second_order/small_matrix.h"

namespace coppice::prune {

/// A matrix and a right-hand side, to be factorised and solved in place.
struct SmallSystem {
  std::vector<double> matrix, vector;

  void resize(std::size_t n) {
    matrix.resize(n * n);
    vector.resize(n);
  }
  /// vectorᵀ matrix⁻¹ vector, or `otherwise` if the matrix is not positive.
  double solve(double otherwise) {
    const int n = static_cast<int>(vector.size());
    return factorise_small(matrix.data(), n) ? solve_small(matrix.data(), vector.data(), n)
                                             : otherwise;
  }
};

/// A group S of one row by itself: A_SS and w_S of FisherRows.
struct GroupRow {
  std::size_t cols = 0;
  std::vector<double> a, w;

  GroupRow(const FisherRows& rows, std::int64_t r, const ColumnGroup& group)
      : cols(static_cast<std::size_t>(group.cols)), a(cols * cols), w(cols) {
    const auto column = [&](std::size_t i) { return group.col + static_cast<std::int64_t>(i); };
    for (std::size_t i = 0; i < cols; ++i) {
      w[i] = rows.weight(r, column(i));
      for (std::size_t j = 0; j < cols; ++j)
        a[i * cols + j] = rows.inverse(r, column(i), column(j));
    }
  }

  double at(std::size_t i, std::size_t j) const { return a[i * cols + j]; }

  /// As FisherRows::prune, but for what lies outside of the group.
  void prune(std::size_t i) {
    const double* pivot_row = a.data() + i * cols;
    const double pivot = pivot_row[i], own = w[i];
    for (std::size_t j = 0; pivot > 0 && j < cols; ++j) {
      const double factor = at(j, i) / pivot;
      if (j == i || factor == 0) continue;
      w[j] -= factor * own;
      for (std::size_t k = 0; k < cols; ++k) a[j * cols + k] -= factor * pivot_row[k];
      a[j * cols + i] = 0;
    }
    std::fill_n(a.begin() + static_cast<std::ptrdiff_t>(i * cols), cols, 0.0);
    w[i] = 0;
  }
};

/// K = (A_SS)⁻¹ and K w of a GroupRow. Keeping the weights P of it saves (K w)_Pᵀ K_PP⁻¹ (K w)_P of
/// the cost of pruning all of them.
struct GroupCurvature {
  std::size_t cols = 0;
  std::vector<double> k, gradient;

  explicit GroupCurvature(const GroupRow& row) : cols(row.cols), k(row.a), gradient(cols) {
    if (factorise_small(k.data(), static_cast<int>(cols))) {
      invert_factor(k.data(), static_cast<int>(cols));
    } else {  // no correlations
      std::ranges::fill(k, 0.0);
      for (std::size_t i = 0; i < cols; ++i)
        k[i * cols + i] = row.at(i, i) > 0 ? 1 / row.at(i, i) : 0;
    }
    for (std::size_t i = 0; i < cols; ++i)
      for (std::size_t j = 0; j < cols; ++j) gradient[i] += k[i * cols + j] * row.w[j];
  }

  double at(std::size_t i, std::size_t j) const { return k[i * cols + j]; }

  /// kept: columns of the group
  template <typename Index>
  double saving(std::span<const Index> kept, SmallSystem& scratch) const {
    const std::size_t n = kept.size();
    scratch.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      scratch.vector[i] = gradient[kept[i]];
      for (std::size_t j = 0; j <= i; ++j) scratch.matrix[i * n + j] = k[kept[i] * cols + kept[j]];
    }
    return scratch.solve(0);
  }
};

/// The group in every row.
inline std::vector<GroupRow> group_rows(const FisherRows& rows, const ColumnGroup& group) {
  std::vector<GroupRow> result;
  for (std::int64_t r = 0; r < rows.rows(); ++r) result.emplace_back(rows, r, group);
  return result;
}

}  // namespace coppice::prune
