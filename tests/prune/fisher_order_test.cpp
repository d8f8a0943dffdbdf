// Orders that Fisher blocks can follow.
#include "coppice/fisher_order.h"

#include <gtest/gtest.h>

#include "coppice/error.h"

namespace coppice {
namespace {

TEST(CutAtBlocks, SegmentsEndWhereBlocksDo) {
  const Pattern pattern = Pattern::parse("16:2:4");
  const auto segments = [&](WeightShape shape, std::int64_t block) {
    const auto cut = cut_at_blocks(shape, block, pattern);
    return cut ? cut->col_segments : std::vector<std::int64_t>();
  };
  EXPECT_EQ(segments({4, 20, {}, {}}, 8), (std::vector<std::int64_t>{8, 8, 4}));
  EXPECT_EQ(segments({4, 22, {}, {}}, 8), (std::vector<std::int64_t>{8, 8, 6}));
  EXPECT_EQ(segments({4, 24, {}, {12, 12}}, 8), (std::vector<std::int64_t>{8, 4, 4, 8}));
  EXPECT_EQ(segments({4, 20, {}, {}}, 6), std::vector<std::int64_t>());  // inside of a group
  EXPECT_EQ(segments({4, 20, {}, {10, 10}}, 8),
            std::vector<std::int64_t>());  // 16 - 10 is no group
  EXPECT_EQ(segments({4, 6, {}, {}}, 16), std::vector<std::int64_t>{6});
}

TEST(GatherFisher, ColumnsStayInTheirBlocks) {
  const FisherStatistics fisher{4, 2, 1, {1, 2, 2, 4, 5, 0, 0, 0, 6, 7, 7, 8, 9, 0, 0, 0}};
  const Permutation swapped = {1, 0, 2}, leaving = {0, 2, 1}, turned = {1, 0};
  EXPECT_EQ(gather_fisher(fisher, 3, turned, swapped, 1).sums,
            (std::vector<double>{8, 7, 7, 6, 9, 0, 0, 0, 4, 2, 2, 1, 5, 0, 0, 0}));
  EXPECT_EQ(gather_fisher(fisher, 3, {}, {}, 1).sums, fisher.sums);
  EXPECT_THROW(gather_fisher(fisher, 3, {}, leaving, 1), InvalidArgument);
}

}  // namespace
}  // namespace coppice
