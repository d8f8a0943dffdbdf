// The joint choice against trying every mask of a group, the update solved for each of them.
#include "prune/second_order/joint_choice.h"

#include <gtest/gtest.h>

#include "coppice/update.h"
#include "prune/legal_masks.h"
#include "prune/second_order_reference.h"

namespace coppice::prune {
namespace {

using testing::best_update;
using testing::legal_masks;
using testing::Matrix;
using testing::pruned_columns;

// Rows are independent once the vector's blocks are: a row takes its cheapest set.
double least_cost(const std::vector<std::vector<double>>& rows, const Matrix& h_inverse,
                  const ColumnGroup& group) {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& inner : legal_masks(group)) {
    double total = 0;
    for (const auto& row : rows) {
      double cheapest = std::numeric_limits<double>::infinity();
      for (std::uint64_t kept : inner)
        cheapest =
            std::min(cheapest, best_update(row, h_inverse, pruned_columns(kept, group.cols)).cost);
      total += cheapest;
    }
    least = std::min(least, total);
  }
  return least;
}

// For one group, the columns before it being settled: mask, update inside the group and update of
// the columns behind it are those of the exhaustive search.
void expect_optimal(const std::string& text, int rows, std::int64_t cols, std::size_t index,
                    std::mt19937& random) {
  const Grid grid(Pattern::parse(text), {rows, cols, {}, {}});
  const ColumnGroup& group = grid.groups()[index];
  const std::int64_t free = cols - group.col;
  const Matrix gram = testing::correlated_gram(cols, 2 * cols, random);
  const auto factor = factorise_inverse({gram.data.data(), cols}, 0.01);
  const Matrix h_inverse =
      testing::inverse(testing::trailing(testing::damped(gram, 0.01), group.col));
  const auto sets = list_kept_sets(group);
  ASSERT_NE(sets, nullptr) << text;
  const JointGroup joint(sets, *factor, group);
  ASSERT_TRUE(joint.usable());

  std::vector<float> weights = testing::normal_weights(rows * cols, random);
  const std::vector<float> before = weights;
  std::vector<std::uint8_t> keep(static_cast<std::size_t>(rows * group.cols));
  std::vector<float> errors(keep.size(), -1e30f);
  const GroupSlab slab{&group, grid.vectors(), weights.data() + group.col, cols, keep.data()};
  joint.choose(slab, errors.data(), group.cols);

  for (const RowVector& vector : grid.vectors()) {
    std::vector<std::vector<double>> originals;
    double chosen = 0;
    for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r) {
      originals.emplace_back(before.begin() + r * cols + group.col,
                             before.begin() + (r + 1) * cols);
      std::uint64_t kept = 0;
      for (int c = 0; c < group.cols; ++c)
        kept |= std::uint64_t{keep[static_cast<std::size_t>(r * group.cols + c)]} << c;
      const auto best = best_update(originals.back(), h_inverse, pruned_columns(kept, group.cols));
      chosen += best.cost;
      for (std::int64_t c = 0; c < free; ++c) {
        double value = weights[static_cast<std::size_t>(r * cols + group.col + c)];
        for (int i = 0; c >= group.cols && i < group.cols; ++i)
          value -= double{errors[static_cast<std::size_t>(r * group.cols + i)]} *
                   factor->at(group.col + i, group.col + c);
        EXPECT_NEAR(value, best.weights[static_cast<std::size_t>(c)], 2e-5) << text;
      }
    }
    const double least = least_cost(originals, h_inverse, group);
    EXPECT_NEAR(chosen, least, 1e-4 * least) << text;
  }
}

TEST(JointChoice, EqualsTryingEverything) {
  std::mt19937 random(1);
  for (int i = 0; i < 6; ++i)
    for (const char* text : {"2:4", "1:4", "4:8", "2:6", "vw4/2:4", "vw3/1:5", "bw2x2/2:4",
                             "bw2x3/1:2", "4:2:8", "3:2:7", "2:3/5:8", "4:1/3:6"}) {
      expect_optimal(text, 7, 19, 0, random);  // a short vector at the end
      expect_optimal(text, 7, 19, 1, random);
    }
}

TEST(JointChoice, EqualsTryingEverythingInShortGroups) {
  std::mt19937 random(2);
  for (int i = 0; i < 6; ++i) {
    expect_optimal("4:2:8", 7, 13, 1, random);    // 5 columns
    expect_optimal("2:4", 5, 11, 2, random);      // 3
    expect_optimal("vw2/3:8", 5, 15, 1, random);  // 7
  }
}

// The whole weight is one group: the result is the best there is.
TEST(JointChoice, IsTheOptimumOfOneGroup) {
  std::mt19937 random(3);
  for (const char* text : {"4:8", "3:2:8", "vw3/2:8", "bw3x2/2:4"}) {
    const Grid grid(Pattern::parse(text), {3, 8, {}, {}});
    const Matrix gram = testing::correlated_gram(8, 20, random);
    const Matrix h = testing::damped(gram, 0.01);
    const std::vector<float> before = testing::normal_weights(24, random);
    std::vector<float> after = before;
    // Magnitude can be better without damping, hence the damped matrix as the statistics.
    obs_prune(after, 3, 8, Pattern::parse(text), h.data, {.damping = 0});
    double cost = 0, least = 0;
    for (std::size_t r = 0; r < 3; ++r)
      for (std::size_t i = 0; i < 8; ++i)
        for (std::size_t j = 0; j < 8; ++j)
          cost += (double{before[8 * r + i]} - after[8 * r + i]) *
                  h(static_cast<std::int64_t>(i), static_cast<std::int64_t>(j)) *
                  (double{before[8 * r + j]} - after[8 * r + j]);
    const Matrix h_inverse = testing::inverse(h);
    for (const RowVector& vector : grid.vectors()) {
      std::vector<std::vector<double>> rows;
      for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r)
        rows.emplace_back(before.begin() + 8 * r, before.begin() + 8 * (r + 1));
      least += least_cost(rows, h_inverse, grid.groups().front());
    }
    EXPECT_NEAR(cost, least, 1e-4 * least) << text;
  }
}

TEST(JointChoice, TooManySetsAreDeclined) {
  const auto declined = [](const char* text) {
    const Grid grid(Pattern::parse(text), {64, 64, {}, {}});
    return list_kept_sets(grid.groups().front()) == nullptr;
  };
  EXPECT_TRUE(declined("8:16"));
  EXPECT_TRUE(declined("4:32"));
  EXPECT_TRUE(declined("bw4x16/2:4"));
  EXPECT_TRUE(declined("64:2:32"));
  EXPECT_FALSE(declined("64:2:16"));
  EXPECT_FALSE(declined("2:16"));
}

}  // namespace
}  // namespace coppice::prune
