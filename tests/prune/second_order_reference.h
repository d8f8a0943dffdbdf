// Second-order pruning the obvious way, in double precision: an inverse by elimination, sets tried
// one by one, and SparseGPT's loop as its paper gives it. Shares nothing with the library.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace coppice::testing {

/// A square or rectangular matrix of doubles.
struct Matrix {
  std::int64_t rows = 0, cols = 0;
  std::vector<double> data;

  Matrix(std::int64_t rows_, std::int64_t cols_)
      : rows(rows_), cols(cols_), data(static_cast<std::size_t>(rows_ * cols_)) {}
  double& operator()(std::int64_t r, std::int64_t c) {
    return data[static_cast<std::size_t>(r * cols + c)];
  }
  double operator()(std::int64_t r, std::int64_t c) const {
    return data[static_cast<std::size_t>(r * cols + c)];
  }
};

/// Gauss-Jordan with pivots.
inline Matrix inverse(Matrix a) {
  const std::int64_t n = a.rows;
  Matrix result(n, n);
  for (std::int64_t i = 0; i < n; ++i) result(i, i) = 1;
  for (std::int64_t c = 0; c < n; ++c) {
    std::int64_t pivot = c;
    for (std::int64_t r = c; r < n; ++r)
      if (std::fabs(a(r, c)) > std::fabs(a(pivot, c))) pivot = r;
    for (std::int64_t k = 0; k < n; ++k) {
      std::swap(a(c, k), a(pivot, k));
      std::swap(result(c, k), result(pivot, k));
    }
    const double scale = 1 / a(c, c);
    for (std::int64_t k = 0; k < n; ++k) {
      a(c, k) *= scale;
      result(c, k) *= scale;
    }
    for (std::int64_t r = 0; r < n; ++r) {
      const double factor = a(r, c);
      if (r == c || factor == 0) continue;
      for (std::int64_t k = 0; k < n; ++k) {
        a(r, k) -= factor * a(c, k);
        result(r, k) -= factor * result(c, k);
      }
    }
  }
  return result;
}

/// The rows and columns of `a` from `first` on.
inline Matrix trailing(const Matrix& a, std::int64_t first) {
  Matrix result(a.rows - first, a.cols - first);
  for (std::int64_t r = first; r < a.rows; ++r)
    for (std::int64_t c = first; c < a.cols; ++c) result(r - first, c - first) = a(r, c);
  return result;
}

/// Upper U with UᵀU = a.
inline Matrix upper_cholesky(const Matrix& a) {
  const std::int64_t n = a.rows;
  Matrix u(n, n);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j) {
      double sum = a(i, j);
      for (std::int64_t k = 0; k < i; ++k) sum -= u(k, i) * u(k, j);
      u(i, j) = i == j ? std::sqrt(sum) : sum / u(i, i);
    }
  return u;
}

/// gram / mean of its diagonal + damping I.
inline Matrix damped(Matrix gram, double damping) {
  double mean = 0;
  for (std::int64_t i = 0; i < gram.rows; ++i) mean += gram(i, i) / static_cast<double>(gram.rows);
  for (double& value : gram.data) value /= mean;
  for (std::int64_t i = 0; i < gram.rows; ++i) gram(i, i) += damping;
  return gram;
}

inline std::vector<float> normal_weights(std::int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> weights(static_cast<std::size_t>(count));
  for (float& weight : weights) weight = normal(random);
  return weights;
}

/// Gram matrix of `samples` correlated inputs: each is a mixture of a few sources, of falling
/// strength, and some noise of its own, with channels of different size.
inline Matrix correlated_gram(std::int64_t cols, std::int64_t samples, std::mt19937& random) {
  std::normal_distribution<double> normal;
  const std::int64_t sources = cols / 4 + 1;
  Matrix mixing(sources, cols), gram(cols, cols);
  std::vector<double> size(static_cast<std::size_t>(cols)), x(size.size());
  for (double& value : size) value = std::exp(0.5 * normal(random));
  for (std::int64_t s = 0; s < sources; ++s)
    for (std::int64_t c = 0; c < cols; ++c)
      mixing(s, c) = normal(random) / std::sqrt(static_cast<double>(s + 1));
  for (std::int64_t sample = 0; sample < samples; ++sample) {
    for (double& value : x) value = 0.3 * normal(random);
    for (std::int64_t s = 0; s < sources; ++s) {
      const double strength = normal(random);
      for (std::int64_t c = 0; c < cols; ++c)
        x[static_cast<std::size_t>(c)] += strength * mixing(s, c);
    }
    for (std::size_t c = 0; c < x.size(); ++c) x[c] *= size[c];
    for (std::int64_t i = 0; i < cols; ++i)
      for (std::int64_t j = 0; j < cols; ++j)
        gram(i, j) += x[static_cast<std::size_t>(i)] * x[static_cast<std::size_t>(j)];
  }
  return gram;
}

/// SparseGPT's N:M pruning (Frantar and Alistarh 2023, algorithm 1): the dampened inverse, its
/// upper Cholesky factor, blocks of 128 columns; in each group of a row the weights of smallest
/// w²/U_jj² go, the others right of them compensate, and the block's errors reach later columns at
/// its end.
inline std::vector<float> sparse_gpt(const std::vector<float>& weights, std::int64_t rows,
                                     const Matrix& gram, int kept, int group) {
  constexpr std::int64_t kBlock = 128;
  const std::int64_t cols = gram.cols;
  const Matrix u = upper_cholesky(inverse(damped(gram, 0.01)));
  std::vector<float> result(weights.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    std::vector<double> w(weights.begin() + r * cols, weights.begin() + (r + 1) * cols);
    const auto at = [&w](std::int64_t c) -> double& { return w[static_cast<std::size_t>(c)]; };
    for (std::int64_t begin = 0; begin < cols; begin += kBlock) {
      const std::int64_t end = std::min(begin + kBlock, cols);
      std::vector<double> errors(static_cast<std::size_t>(end - begin));
      std::vector<bool> prune(errors.size());
      for (std::int64_t c = begin; c < end; ++c) {
        if ((c - begin) % group == 0) {
          std::vector<std::int64_t> order(static_cast<std::size_t>(group));
          std::iota(order.begin(), order.end(), c);
          std::ranges::stable_sort(
              order, {}, [&](std::int64_t j) { return at(j) * at(j) / (u(j, j) * u(j, j)); });
          for (int i = 0; i < group - kept; ++i)
            prune[static_cast<std::size_t>(order[static_cast<std::size_t>(i)] - begin)] = true;
        }
        if (!prune[static_cast<std::size_t>(c - begin)]) continue;
        const double error = at(c) / u(c, c);
        errors[static_cast<std::size_t>(c - begin)] = error;
        at(c) = 0;
        for (std::int64_t j = c + 1; j < end; ++j) at(j) -= error * u(c, j);
      }
      for (std::int64_t c = begin; c < end; ++c)
        for (std::int64_t j = end; j < cols; ++j)
          at(j) -= errors[static_cast<std::size_t>(c - begin)] * u(c, j);
    }
    std::ranges::copy(w, result.begin() + r * cols);
  }
  return result;
}

/// The least (w - v) H (w - v)ᵀ over v that are zero in `pruned`, everything else being free.
struct BestUpdate {
  double cost = 0;
  std::vector<double> weights;
};

inline BestUpdate best_update(const std::vector<double>& w, const Matrix& h_inverse,
                              const std::vector<std::int64_t>& pruned) {
  const auto count = std::ssize(pruned);
  Matrix part(count, count);
  const auto column = [&](std::int64_t i) { return pruned[static_cast<std::size_t>(i)]; };
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t j = 0; j < count; ++j) part(i, j) = h_inverse(column(i), column(j));
  part = inverse(part);
  BestUpdate best{0, w};
  for (std::int64_t i = 0; i < count; ++i) {
    double multiplier = 0;
    for (std::int64_t j = 0; j < count; ++j)
      multiplier += part(i, j) * w[static_cast<std::size_t>(column(j))];
    best.cost += multiplier * w[static_cast<std::size_t>(column(i))];
    for (std::size_t k = 0; k < w.size(); ++k)
      best.weights[k] -= h_inverse(static_cast<std::int64_t>(k), column(i)) * multiplier;
  }
  return best;
}

}  // namespace coppice::testing
