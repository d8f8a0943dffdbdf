#include "prune/exact_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "prune/mask_reference.h"

namespace coppice::prune {
namespace {

using testing::integer_scores;
using testing::normal_scores;
using testing::Scores;

// A block of its own, transposed as the kernels want it.
class Block {
 public:
  Block(const Scores& scores, int kept_cols, int kept) : scores_(scores) {
    shape_.rows = static_cast<int>(scores.rows);
    shape_.pitch = (shape_.rows + kPanelRows - 1) / kPanelRows * kPanelRows;
    shape_.cols = static_cast<int>(scores.cols);
    shape_.kept_cols = kept_cols;
    shape_.kept = kept;
    const std::size_t size = static_cast<std::size_t>(shape_.cols * shape_.pitch);
    keys_ = hwy::AllocateAligned<std::int32_t>(size);
    std::fill_n(keys_.get(), size, 0);
    for (int c = 0; c < shape_.cols; ++c)
      for (int r = 0; r < shape_.rows; ++r)
        keys_[static_cast<std::size_t>(c * shape_.pitch + r)] =
            std::bit_cast<std::int32_t>(static_cast<float>(scores_.at(r, c)));
    block_ = std::make_unique<BlockScores>(shape_);
    block_->load(keys_.get(), shape_);
  }

  const BlockScores& scores() const { return *block_; }
  const BlockShape& shape() const { return shape_; }

  ColumnSet first_columns() const {
    ColumnSet set;
    set.columns.resize(static_cast<std::size_t>(shape_.kept_cols));
    std::iota(set.columns.begin(), set.columns.end(), std::uint8_t{0});
    set.score = block_->score(set.columns);
    return set;
  }

  std::vector<std::int64_t> best_of_all() const {
    return testing::best_columns(
        scores_, {0, shape_.rows},
        {.col = 0, .cols = shape_.cols, .kept_cols = shape_.kept_cols, .kept = shape_.kept});
  }

 private:
  const Scores& scores_;
  BlockShape shape_;
  AlignedInts keys_;
  std::unique_ptr<BlockScores> block_;
};

std::vector<std::int64_t> columns_of(const ColumnSet& set) {
  return {set.columns.begin(), set.columns.end()};
}

// Whatever it starts from, and with one object for blocks of all sizes.
TEST(ExactSearch, FindsTheFirstBestSetFromAnyStart) {
  std::mt19937 random(1);
  auto pick = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  ExactSearch search({.rows = 100, .pitch = 112, .cols = 12, .kept_cols = 12, .kept = 12});
  for (int i = 0; i < 300; ++i) {
    const int cols = pick(2, 12), kept_cols = pick(2, cols);
    const Scores scores = integer_scores(pick(1, 100), cols, pick(1, 9), random);
    const Block block(scores, kept_cols, pick(1, kept_cols - 1));
    ASSERT_EQ(block.scores().slack(), 0);
    ColumnSet set = block.first_columns();
    search.run(block.scores(), set, 1 << 20);
    ASSERT_TRUE(set.proven);
    ASSERT_EQ(columns_of(set), block.best_of_all());
    ASSERT_EQ(set.score, block.scores().score(set.columns));
  }
}

// Scores far apart leave few bits for the integers of most of them: doubles must decide.
TEST(ExactSearch, IsExactWhereIntegersAreCoarse) {
  std::mt19937 random(2);
  for (int i = 0; i < 100; ++i) {
    Scores scores = normal_scores(40, 9, random);
    scores.at(7, static_cast<std::int64_t>(random() % 9)) = 1e7f;
    const Block block(scores, 4, 2);
    EXPECT_GT(block.scores().slack(), 0);
    ExactSearch search(block.shape());
    ColumnSet set = block.first_columns();
    search.run(block.scores(), set, 1 << 20);
    ASSERT_EQ(columns_of(set), block.best_of_all());
  }
}

TEST(ExactSearch, FourOfThirtyTwoAlwaysFitTheBudget) {
  std::mt19937 random(3);
  // Ties without end: every set of four columns keeps the same, but for one column.
  Scores scores(64, 32);
  std::ranges::fill(scores.data, 1.0f);
  for (int r = 0; r < 64; ++r) scores.at(r, 31) = 2.0f;
  const Block block(scores, 4, 2);
  ExactSearch search(block.shape());
  ColumnSet set = block.first_columns();
  search.run(block.scores(), set, 1 << 18);
  EXPECT_TRUE(set.proven);
  EXPECT_EQ(columns_of(set), (std::vector<std::int64_t>{0, 1, 2, 31}));
}

TEST(ExactSearch, SaysSoWhenTheBudgetEnds) {
  std::mt19937 random(4);
  const Scores scores = normal_scores(64, 64, random);
  const Block block(scores, 4, 2);
  ExactSearch search(block.shape());
  double last = 0;
  for (std::int64_t budget : {0, 100, 1000, 10000, 1 << 26}) {
    ColumnSet set = block.first_columns();
    const double start = set.score;
    search.run(block.scores(), set, budget);
    EXPECT_EQ(set.proven, budget == 1 << 26) << budget;
    EXPECT_GE(set.score, start);
    EXPECT_GE(set.score, last) << "a larger budget found less";
    EXPECT_EQ(set.score, block.scores().score(set.columns));
    last = set.score;
  }
}

// The premise of every bound: for any floor, no set keeps more than N times its sum plus what the
// columns have above it.
TEST(BlockScores, AnyFloorBoundsEverySet) {
  std::mt19937 random(5);
  const Scores scores = integer_scores(20, 8, 100, random);
  const Block block(scores, 4, 2);
  const BlockShape& shape = block.shape();
  const AlignedInts list = hwy::AllocateAligned<std::int32_t>(shape.list_size());
  const AlignedInts floor = hwy::AllocateAligned<std::int32_t>(32);
  for (int i = 0; i < 200; ++i) {
    for (int r = 0; r < shape.pitch; ++r)
      floor[static_cast<std::size_t>(r)] = static_cast<std::int32_t>(random() % (1 << 22));
    std::vector<std::uint8_t> set(8);
    std::iota(set.begin(), set.end(), std::uint8_t{0});
    std::ranges::shuffle(set, random);
    set.resize(4);
    std::int32_t above[4];
    const std::int32_t sum = block.scores().sum_of(floor.get(), 1);
    block.scores().sum_above(floor.get(), set, sum, above);
    const std::int64_t bound = std::accumulate(above, above + 4, std::int64_t{2} * sum);
    block.scores().make_list(set, list.get());
    const std::int32_t score = block.scores().sum_of(list.get(), 2);
    EXPECT_LE(score, bound);
    EXPECT_EQ(block.scores().from_units(score), block.scores().score(set));
  }
}

}  // namespace
}  // namespace coppice::prune
