// Windows and blocks of the product in bf16, which run on no processor in particular.
#include "cpu/bf16_lookup_plan.h"

#include <gtest/gtest.h>

#include "cpu/many_tokens_plan.h"
#include "cpu/random_weight.h"

namespace coppice::cpu {
namespace {

std::vector<std::uint16_t> columns_of(const PackedWeight::Impl& weight, std::int32_t list) {
  std::vector<std::uint16_t> columns;
  if (!weight.layout.list_per_vector) return columns;
  for (std::int64_t p = 0; p < weight.layout.x_length; ++p)
    columns.push_back(static_cast<std::uint16_t>(weight.x_order.at(list, p)));
  return columns;
}

// First and last column that a slot's weights can lie in.
std::pair<std::int64_t, std::int64_t> reach(const PackedLayout& layout,
                                            const std::vector<std::int32_t>& begins,
                                            const std::vector<std::uint16_t>& columns,
                                            std::int64_t slot) {
  const auto column = [&](std::int64_t position) -> std::int64_t {
    return columns.empty() ? position : columns[static_cast<std::size_t>(position)];
  };
  if (layout.format == WeightFormat::shared) return {column(slot), column(slot)};
  const std::int64_t begin = begins[static_cast<std::size_t>(slot)];
  std::int64_t end = layout.x_length;  // of the group: where another one begins
  for (const std::int32_t other : begins)
    if (other > begin) end = std::min<std::int64_t>(end, other);
  return {column(begin), column(end - 1)};
}

void check_plan(const Pattern& pattern, std::int64_t rows, std::int64_t cols) {
  SCOPED_TRACE(pattern.to_string() + " " + std::to_string(rows) + "x" + std::to_string(cols));
  Random random(1);
  const SparseMatrix sparse = random_weight(random, pattern, rows, cols, Dtype::bf16);
  const PackedWeight packed(sparse.view());
  const PackedWeight::Impl& weight = packed.impl();
  ASSERT_TRUE(lookup_supports(weight));
  const std::vector<std::int32_t> begins = slot_windows(weight.layout);
  for (const Panel& panel : weight.panels) {
    const std::vector<std::uint16_t> columns = columns_of(weight, panel.list);
    const LookupPlan plan = lookup_plan(weight.layout, columns);
    std::int64_t slot = 0, window = 0;
    for (const LookupBlock& block : plan.blocks) {
      ASSERT_EQ(block.slot, slot);
      ASSERT_EQ(block.window, window);
      ASSERT_GT(block.windows, 0);
      int pairs = 0;
      for (int w = 0; w < block.windows; ++w, ++window) {
        const LookupWindow& at = plan.windows[static_cast<std::size_t>(window)];
        ASSERT_GT(at.slots, 0);
        ASSERT_GE(at.column, 0);
        ASSERT_LT(at.column, kLookupBlockCols);
        pairs += at.pairs();
        const std::int64_t base = block.x_block * kLookupBlockCols + at.column;
        for (int s = 0; s < at.slots; ++s, ++slot) {
          const auto [first, last] = reach(weight.layout, begins, columns, slot);
          ASSERT_GE(first, base);
          ASSERT_LT(last, base + kLookupCols);
        }
      }
      ASSERT_EQ(block.pairs, pairs);
      ASSERT_LE(block.pairs, kLookupBlockPairs);
    }
    ASSERT_EQ(slot, weight.layout.slots);
    ASSERT_EQ(window, std::ssize(plan.windows));
  }
}

TEST(LookupPlan, HasEverySlotInAWindow) {
  for (const char* pattern :
       {"dense", "2:4", "3:7", "1:32", "31:32", "vw32/8:32", "vw64/1:100", "vw16/16:17", "64:2:8",
        "16:5/12:32", "bw4x4/8:32", "bw3x5/2:7", "bw32x32/1:4", "bw4x40/1:4"})
    for (const std::int64_t cols : {0, 1, 31, 33, 512, 1300})
      check_plan(Pattern::parse(pattern), 70, cols);
}

TEST(LookupPlan, FillsWindowsWithGroups) {
  const auto plan = [](const char* pattern, std::int64_t cols) {
    return lookup_plan(
        packed_layout(Grid(Pattern::parse(pattern), {16, cols, {}, {}}), Dtype::bf16));
  };
  // 32 columns are 8 groups of 4, 16 slots, 8 pairs.
  const LookupPlan two_four = plan("2:4", 1024);
  ASSERT_EQ(two_four.windows.size(), 32u);
  for (const LookupWindow& window : two_four.windows) EXPECT_EQ(window.slots, 16);
  ASSERT_EQ(two_four.blocks.size(), 256u / kLookupBlockPairs);
  for (const LookupBlock& block : two_four.blocks) EXPECT_EQ(block.pairs, kLookupBlockPairs);
  // Four groups of 7 are 28 columns.
  const LookupPlan of_seven = plan("3:7", 84);
  ASSERT_EQ(of_seven.windows.size(), 3u);
  EXPECT_EQ(of_seven.windows[1].column, 28);
  EXPECT_EQ(of_seven.windows[1].slots, 12);
}

TEST(LookupPlan, LeavesWideGroupsToOthers) {
  Random random(2);
  for (const char* pattern : {"2:33", "16:64", "64:2:100"}) {
    const SparseMatrix weight =
        random_weight(random, Pattern::parse(pattern), 64, 300, Dtype::bf16);
    EXPECT_FALSE(lookup_supports(PackedWeight(weight.view()).impl())) << pattern;
  }
  const SparseMatrix wide =
      random_weight(random, Pattern::parse("vw16/1:8"), 16, 70000, Dtype::bf16);
  EXPECT_FALSE(lookup_supports(PackedWeight(wide.view()).impl()));
}

}  // namespace
}  // namespace coppice::cpu
