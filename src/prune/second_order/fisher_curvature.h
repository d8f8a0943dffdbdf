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

/// The group S of one row: K = (A_SS)⁻¹ and K w. Keeping the weights P of it saves
/// (K w)_Pᵀ K_PP⁻¹ (K w)_P of the cost of pruning all of them.
struct GroupCurvature {
  std::size_t cols = 0;
  std::vector<double> k, gradient;

  GroupCurvature(const FisherRows& rows, std::int64_t r, const ColumnGroup& group)
      : cols(static_cast<std::size_t>(group.cols)), k(cols * cols), gradient(cols) {
    std::vector<double> diagonal(cols);
    const auto column = [&](std::size_t i) { return group.col + static_cast<std::int64_t>(i); };
    for (std::size_t i = 0; i < cols; ++i) {
      for (std::size_t j = 0; j < cols; ++j)
        k[i * cols + j] = rows.inverse(r, column(i), column(j));
      diagonal[i] = k[i * cols + i];
    }
    if (factorise_small(k.data(), group.cols)) {
      invert_factor(k.data(), group.cols);
    } else {  // no correlations
      std::ranges::fill(k, 0.0);
      for (std::size_t i = 0; i < cols; ++i)
        k[i * cols + i] = diagonal[i] > 0 ? 1 / diagonal[i] : 0;
    }
    for (std::size_t i = 0; i < cols; ++i)
      for (std::size_t j = 0; j < cols; ++j)
        gradient[i] += k[i * cols + j] * rows.weight(r, column(j));
  }

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

/// Of every row.
inline std::vector<GroupCurvature> curvatures(const FisherRows& rows, const ColumnGroup& group) {
  std::vector<GroupCurvature> result;
  for (std::int64_t r = 0; r < rows.rows(); ++r) result.emplace_back(rows, r, group);
  return result;
}

}  // namespace coppice::prune
