#include "prune/permutation/assignment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace coppice::prune {
namespace {

double gain_of(const std::vector<double>& gains, const std::vector<std::uint32_t>& columns) {
  double sum = 0;
  for (std::size_t row = 0; row < columns.size(); ++row)
    sum += gains[row * columns.size() + columns[row]];
  return sum;
}

double best_gain(const std::vector<double>& gains, std::size_t size) {
  std::vector<std::uint32_t> columns(size);
  std::iota(columns.begin(), columns.end(), 0u);
  double best = -std::numeric_limits<double>::infinity();
  do best = std::max(best, gain_of(gains, columns));
  while (std::ranges::next_permutation(columns).found);
  return best;
}

TEST(SolveAssignment, EqualsTryingEverything) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    const std::size_t size = 1 + static_cast<std::size_t>(i % 7);
    std::vector<double> gains(size * size);
    if (i % 2) {  // ties, negative gains
      std::uniform_int_distribution<int> integer(-3, 3);
      for (double& gain : gains) gain = integer(random);
    } else {
      std::lognormal_distribution<double> wide(0, 4);
      for (double& gain : gains) gain = wide(random);
    }
    std::vector<std::uint32_t> found = solve_assignment(gains, size);
    const double best = best_gain(gains, size);
    EXPECT_NEAR(gain_of(gains, found), best, 1e-12 * std::abs(best));
    std::ranges::sort(found);
    for (std::size_t c = 0; c < size; ++c) ASSERT_EQ(found[c], c);
  }
  EXPECT_TRUE(solve_assignment({}, 0).empty());
}

// gains[i, j] = a_i b_j: the best is to pair both in the same order (rearrangement inequality).
TEST(SolveAssignment, PairsProductsInOrder) {
  std::mt19937 random(2);
  std::normal_distribution<double> normal;
  const std::size_t size = 300;
  std::vector<double> a(size), b(size), gains(size * size);
  for (double& x : a) x = normal(random);
  for (double& x : b) x = normal(random);
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = 0; j < size; ++j) gains[i * size + j] = a[i] * b[j];
  const double found = gain_of(gains, solve_assignment(gains, size));
  std::ranges::sort(a);
  std::ranges::sort(b);
  EXPECT_NEAR(found, std::inner_product(a.begin(), a.end(), b.begin(), 0.0), 1e-9);
}

// Rounding must not keep the row reduction from ending.
TEST(SolveAssignment, EndsOnHardNumbers) {
  const std::size_t size = 64;
  std::vector<double> gains(size * size);
  for (std::size_t i = 0; i < gains.size(); ++i)
    gains[i] = 1e300 * (1 + 1e-16 * static_cast<double>(i % 3)) - (i % 5 == 0 ? 1e-300 : 0.1);
  std::vector<std::uint32_t> found = solve_assignment(gains, size);
  std::ranges::sort(found);
  for (std::size_t c = 0; c < size; ++c) ASSERT_EQ(found[c], c);
  gains.assign(size * size, 0);
  EXPECT_EQ(gain_of(gains, solve_assignment(gains, size)), 0);
}

}  // namespace
}  // namespace coppice::prune
