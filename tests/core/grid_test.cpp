#include "coppice/grid.h"

#include <gtest/gtest.h>

#include <random>

#include "coppice/error.h"

namespace coppice {
namespace {

Grid grid(const char* pattern, std::int64_t rows, std::int64_t cols) {
  return Grid(Pattern::parse(pattern), {rows, cols, {}, {}});
}

// kernels.md: bytes per dense weight in fp16.
TEST(Grid, BitsPerWeightOfTheDesignsPatterns) {
  auto bytes = [](const char* pattern) {
    return grid(pattern, 128, 4096).bits_per_weight(Dtype::f16) / 8;
  };
  EXPECT_DOUBLE_EQ(bytes("dense"), 2);
  EXPECT_DOUBLE_EQ(bytes("2:4"), 1.125);
  EXPECT_DOUBLE_EQ(bytes("4:8"), 1.125);
  EXPECT_DOUBLE_EQ(bytes("2:8"), 0.59375);
  EXPECT_DOUBLE_EQ(bytes("1:4"), 0.5625);
  EXPECT_DOUBLE_EQ(bytes("2:16"), 0.3125);
  EXPECT_DOUBLE_EQ(bytes("4:16"), 0.625);
  EXPECT_DOUBLE_EQ(bytes("8:32"), 0.625);
  EXPECT_DOUBLE_EQ(bytes("4:32"), 0.328125);
  // 64:2:8: 2 values and 4 bits a row and group, 8 bits (a bitmask) a vector and group
  EXPECT_DOUBLE_EQ(bytes("64:2:8"), (4 + 0.5 + 1.0 / 64) / 8);
}

TEST(Grid, ChoiceCodeTakesTheSmallerForm) {
  EXPECT_EQ(choice_code(2, 4).bits, 2);
  EXPECT_FALSE(choice_code(2, 4).bitmask);
  EXPECT_TRUE(choice_code(3, 6).bitmask);
  EXPECT_TRUE(choice_code(4, 8).bitmask);
  EXPECT_FALSE(choice_code(2, 8).bitmask);
  EXPECT_EQ(choice_code(1, 256).bits, 8);
  EXPECT_EQ(choice_code(1, 1).size(1, 1), 0);
}

TEST(Grid, ShortVectorsAndGroups) {
  Grid g = grid("64:2:8", 130, 19);
  ASSERT_EQ(g.vectors().size(), 3u);
  EXPECT_EQ(g.vectors()[2].rows, 2);
  ASSERT_EQ(g.groups().size(), 3u);
  EXPECT_EQ(g.groups()[2].cols, 3);
  EXPECT_EQ(g.groups()[2].kept_cols, 3);
  EXPECT_EQ(g.groups()[2].kept, 2);
  EXPECT_EQ(g.kept(), 6);
  EXPECT_EQ(g.live_cols(), 11);
  Grid one = grid("2:4", 3, 5);
  EXPECT_EQ(one.groups()[1].kept, 1);
  EXPECT_EQ(one.kept(), 3);
  EXPECT_EQ(one.live_cols(), 5);
  EXPECT_EQ(one.metadata_bytes_per_row(), 1);
  EXPECT_EQ(one.columns_bytes(), 0);
}

TEST(Grid, NarrowBlocksStandAlone) {
  Grid g = grid("bw4x8/1:2", 4, 8 * 3 + 5);
  ASSERT_EQ(g.groups().size(), 3u);
  EXPECT_EQ(g.groups()[1].blocks, 1);
  EXPECT_EQ(g.groups()[2].block_cols, 5);
  EXPECT_EQ(g.kept(), 8 + 8 + 5);
}

TEST(Grid, SegmentsRestartVectorsAndGroups) {
  Grid g(Pattern::parse("vw32/2:4"), {80, 10, {40, 40}, {5, 5}});
  ASSERT_EQ(g.vectors().size(), 4u);
  EXPECT_EQ(g.vectors()[1].rows, 8);
  EXPECT_EQ(g.vectors()[2].row, 40);
  ASSERT_EQ(g.groups().size(), 4u);
  EXPECT_EQ(g.groups()[2].col, 5);
  EXPECT_EQ(g.vector_of(39), 1);
  EXPECT_EQ(g.vector_of(40), 2);
  EXPECT_EQ(g.group_of(4), 1);
  EXPECT_EQ(g.group_of(9), 3);
}

TEST(Grid, RefusesBadSegmentsAndSizes) {
  Pattern p = Pattern::parse("2:4");
  EXPECT_THROW(Grid(p, {-1, 4, {}, {}}), InvalidArgument);
  EXPECT_THROW(Grid(p, {4, 4, {3}, {}}), InvalidArgument);
  EXPECT_THROW(Grid(p, {4, 4, {}, {5, -1}}), InvalidArgument);
  EXPECT_THROW(Grid(p, {4, 4, {}, {3, 2}}), InvalidArgument);
  EXPECT_THROW(Grid(p, {std::int64_t{1} << 40, std::int64_t{1} << 40, {}, {}}), InvalidArgument);
}

TEST(Grid, EmptyWeights) {
  for (auto [rows, cols] : {std::pair{0, 0}, {0, 7}, {7, 0}}) {
    Grid g = grid("64:2:8", rows, cols);
    EXPECT_EQ(g.own_bytes(Dtype::f32), 0);
    EXPECT_EQ(g.bits_per_weight(Dtype::f32), 0);
  }
}

TEST(Grid, OffsetsAddUp) {
  std::mt19937 random(3);
  auto pick = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  for (int i = 0; i < 500; ++i) {
    int group = pick(1, 40), kept = pick(1, group), inner = pick(0, kept);
    Pattern p = Pattern::make(pick(1, 9), inner ? 1 : pick(1, 5), kept, group, inner);
    int rows = pick(0, 40), cut_row = pick(0, rows), cols = pick(0, 200), cut_col = pick(0, cols);
    Grid g(p, {rows, cols, {cut_row, rows - cut_row}, {cut_col, cols - cut_col}});
    std::int64_t col = 0, value = 0, live = 0;
    for (const ColumnGroup& c : g.groups()) {
      EXPECT_EQ(c.col, col);
      EXPECT_EQ(c.value, value);
      EXPECT_EQ(c.live_col, live);
      EXPECT_GE(c.kept, 1);
      EXPECT_LE(c.kept, c.kept_cols);
      EXPECT_LE(c.kept_cols, c.cols);
      col += c.cols, value += c.kept, live += c.kept_cols;
    }
    EXPECT_EQ(col, cols);
    EXPECT_EQ(value, g.kept());
    EXPECT_EQ(live, g.live_cols());
    std::int64_t row = 0;
    for (const RowVector& v : g.vectors()) {
      EXPECT_EQ(v.row, row);
      row += v.rows;
    }
    EXPECT_EQ(row, rows);
  }
}

}  // namespace
}  // namespace coppice
