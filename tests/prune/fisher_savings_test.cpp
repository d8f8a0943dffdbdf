// Savings of all exchanges in one go against those of every set by itself.
#include "prune/second_order/fisher_savings.h"

#include <gtest/gtest.h>

#include <random>

namespace coppice::prune {
namespace {

// K = G Gᵀ of `rank` vectors and a diagonal, and some gradient.
GroupCurvature random_curvature(std::size_t cols, std::size_t rank, double diagonal,
                                std::mt19937& random) {
  GroupRow row(FisherRows({FisherStatistics{}, 0, 0}, 0), 0, ColumnGroup{});
  row.cols = cols;
  row.a.assign(cols * cols, 0.0);
  row.w.assign(cols, 0.0);
  GroupCurvature curvature(row);
  std::normal_distribution<double> normal;
  for (std::size_t r = 0; r < rank; ++r) {
    std::vector<double> vector(cols);
    for (double& value : vector) value = normal(random);
    for (std::size_t i = 0; i < cols; ++i)
      for (std::size_t j = 0; j < cols; ++j) curvature.k[i * cols + j] += vector[i] * vector[j];
  }
  for (std::size_t i = 0; i < cols; ++i) {
    curvature.k[i * cols + i] += diagonal;
    curvature.gradient[i] = normal(random);
  }
  return curvature;
}

void split(std::size_t cols, std::size_t kept, std::mt19937& random, UnitList& in, UnitList& out) {
  UnitList all(cols);
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::ranges::shuffle(all, random);
  in.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(kept));
  out.assign(all.begin() + static_cast<std::ptrdiff_t>(kept), all.end());
}

std::vector<double> one_by_one(const GroupCurvature& curvature, const UnitList& kept,
                               const UnitList& others) {
  SmallSystem scratch;
  std::vector<double> values;
  for (std::size_t p = 0; p < kept.size(); ++p)
    for (const std::size_t other : others) {
      UnitList set = kept;
      set[p] = other;
      values.push_back(curvature.saving(std::span<const std::size_t>(set), scratch));
    }
  return values;
}

TEST(FisherSavings, ExchangesInOneGoAreThoseOneByOne) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    const std::size_t cols = 2 + random() % 31, count = 1 + random() % (cols - 1);
    const GroupCurvature curvature = random_curvature(cols, random() % 40, 0.3, random);
    UnitList kept, others;
    split(cols, count, random, kept, others);
    const std::vector<double> want = one_by_one(curvature, kept, others);
    std::vector<double> found(want.size(), 2.0);  // added to what there is
    FisherSavings().add_exchanges(curvature, kept, others, found);
    for (std::size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(found[i] - 2, want[i], 1e-9 * (1 + want[i])) << cols << " " << count;
    std::vector<double> single(others.size(), 1.0);
    FisherSavings().add(curvature, UnitList(kept.begin() + 1, kept.end()), others, single);
    for (std::size_t i = 0; i < others.size(); ++i)
      EXPECT_NEAR(single[i] - 1, want[i], 1e-9 * (1 + want[i]));
  }
}

// One kept column has no curvature: sets without it are the only ones that save anything.
TEST(FisherSavings, WhatCannotBeFactorisedIsLookedAtOneByOne) {
  std::mt19937 random(12);
  GroupCurvature curvature = random_curvature(6, 9, 0.1, random);
  for (std::size_t i = 0; i < 6; ++i) curvature.k[2 * 6 + i] = curvature.k[i * 6 + 2] = 0;
  const UnitList kept{0, 2, 5}, others{1, 3};
  const std::vector<double> want = one_by_one(curvature, kept, others);
  std::vector<double> found(want.size(), 0.0);
  FisherSavings().add_exchanges(curvature, kept, others, found);
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(found[i], want[i], 1e-9) << i;
  EXPECT_GT(found[2], 0);
  EXPECT_EQ(found[0], 0);
}

}  // namespace
}  // namespace coppice::prune
