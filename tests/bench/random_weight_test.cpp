// Random operands are valid, repeatable and never zero.
#include "bench/random_weight.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace coppice::bench {
namespace {

TEST(RandomWeight, IsAValidCanonicalWeightOfEveryKind) {
  for (const char* name : {"dense", "2:4", "3:7", "1:2", "200:256", "vw32/8:32", "bw4x4/1:4",
                           "64:2:8", "64:3/6:8", "16:2:100"}) {
    const Pattern pattern = Pattern::parse(name);
    const SparseMatrix weight = random_weight(pattern, 70, 333, Dtype::bf16, 1);
    EXPECT_NO_THROW(validate(weight.view())) << name;
    EXPECT_EQ(weight.pattern(), pattern);
    const SparseMatrix again = random_weight(pattern, 70, 333, Dtype::bf16, 1);
    EXPECT_EQ(weight.columns, again.columns) << name;
    EXPECT_EQ(weight.values, again.values) << name;
    const SparseMatrix other = random_weight(pattern, 70, 333, Dtype::bf16, 2);
    EXPECT_EQ(weight.columns == other.columns, !weight.grid->has_columns()) << name;
  }
}

TEST(RandomWeight, TakesOverValuesOfTheSameNumber) {
  const SparseMatrix first = random_weight(Pattern::parse("8:32"), 70, 320, Dtype::f16, 1);
  const SparseMatrix second =
      random_weight(Pattern::parse("vw4/8:32"), 70, 320, Dtype::f16, 2, first.values);
  EXPECT_NO_THROW(validate(second.view()));
  EXPECT_EQ(second.values, first.values);
  const SparseMatrix alone = random_weight(Pattern::parse("vw4/8:32"), 70, 320, Dtype::f16, 2);
  EXPECT_EQ(second.columns, alone.columns);
  // As many are needed.
  const SparseMatrix other = random_weight(Pattern::parse("4:32"), 70, 320, Dtype::f16, 1);
  EXPECT_EQ(random_weight(Pattern::parse("8:32"), 70, 320, Dtype::f16, 1, other.values).values,
            first.values);
}

TEST(FillNormal, HasMeanZeroAndVarianceOneAndDependsOnTheSeed) {
  std::vector<float> a(100'000), b(a.size());
  fill_normal(a, 1);
  fill_normal(b, 2);
  EXPECT_NE(a, b);
  double sum = 0, squares = 0;
  for (float value : a) {
    sum += value;
    squares += double{value} * value;
  }
  const auto n = static_cast<double>(a.size());
  EXPECT_NEAR(sum / n, 0, 0.05);
  EXPECT_NEAR(squares / n, 1, 0.05);
  EXPECT_EQ(std::ranges::count(a, 0.0f), 0);
  fill_normal({}, 3);
}

}  // namespace
}  // namespace coppice::bench
