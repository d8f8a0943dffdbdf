// Random layers with correlated inputs, and what has to hold for every pruned one.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <string>

#include "coppice/output_error.h"
#include "coppice/update.h"
#include "prune/mask_reference.h"
#include "prune/second_order_reference.h"

namespace coppice::testing {

struct Problem {
  std::int64_t rows, cols;
  std::vector<float> weights;
  Matrix gram;

  Problem(std::int64_t rows_, std::int64_t cols_, unsigned seed, std::int64_t samples = 0)
      : rows(rows_), cols(cols_), gram(cols_, cols_) {
    std::mt19937 random(seed);
    weights = normal_weights(rows * cols, random);
    gram = testing::correlated_gram(cols, samples == 0 ? 3 * cols : samples, random);
  }
};

struct Pruned {
  std::vector<float> weights;
  UpdateResult result;
};

inline Pruned prune(const Problem& problem, const std::string& pattern,
                    const ObsOptions& options = {}) {
  Pruned pruned{problem.weights, {}};
  pruned.result = obs_prune(pruned.weights, problem.rows, problem.cols, Pattern::parse(pattern),
                            problem.gram.data, options);
  return pruned;
}

inline Pruned prune_by_admm(const Problem& problem, const std::string& pattern,
                            const AdmmOptions& options = {}) {
  Pruned pruned{problem.weights, {}};
  pruned.result = admm_prune(pruned.weights, problem.rows, problem.cols, Pattern::parse(pattern),
                             problem.gram.data, options);
  return pruned;
}

inline double error_of(const Problem& problem, const std::vector<float>& weights) {
  return output_error(dense_view(problem.weights, problem.rows, problem.cols),
                      dense_view(weights, problem.rows, problem.cols), problem.gram.data);
}

// What has to hold for every result, whatever the statistics were.
inline void expect_sound(const Problem& problem, const Pruned& pruned, const Grid& grid,
                         const std::string& what) {
  EXPECT_TRUE(testing::fills(pruned.result.mask, grid)) << what;
  for (std::int64_t r = 0; r < problem.rows; ++r)
    for (std::int64_t c = 0; c < problem.cols; ++c) {
      const float weight = pruned.weights[static_cast<std::size_t>(r * problem.cols + c)];
      ASSERT_TRUE(std::isfinite(weight)) << what;
      if (!pruned.result.mask.get(r, c)) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(weight), 0u) << what << " at " << r << ", " << c;
      }
    }
  const double error = error_of(problem, pruned.weights);
  // Squares, as sums of large terms can cancel to small ones.
  const double square = error * error;
  EXPECT_NEAR(pruned.result.error * pruned.result.error, square, 1e-9 * square + 1e-13) << what;
  EXPECT_LE(pruned.result.error, pruned.result.magnitude_error * (1 + 1e-9)) << what;
}

// The gradient on the support is what conjugate gradients bring to zero. Holds where no row was
// pruned by magnitude and the damping is the default.
inline void expect_optimal_on_support(const Problem& problem, const Pruned& pruned) {
  ASSERT_EQ(pruned.result.magnitude_rows, 0);
  const Matrix h = testing::damped(problem.gram, 0.01);
  for (std::int64_t r = 0; r < problem.rows; ++r) {
    const auto change = [&](std::int64_t c) {
      const auto i = static_cast<std::size_t>(r * problem.cols + c);
      return double{problem.weights[i]} - double{pruned.weights[i]};
    };
    for (std::int64_t c = 0; c < problem.cols; ++c) {
      if (!pruned.result.mask.get(r, c)) continue;
      double gradient = 0, size = 0;
      for (std::int64_t k = 0; k < problem.cols; ++k) {
        gradient += change(k) * h(k, c);
        size += std::fabs(change(k) * h(k, c));
      }
      ASSERT_NEAR(gradient, 0, 1e-4 * size + 1e-5) << r << ", " << c;
    }
  }
}

}  // namespace coppice::testing
