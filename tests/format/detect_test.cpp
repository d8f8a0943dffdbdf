#include <gtest/gtest.h>

#include <algorithm>

#include "coppice/error.h"
#include "coppice/sparse_matrix.h"
#include "format/random_case.h"

namespace coppice {
namespace {

using testing::Case;
using testing::Random;
using testing::random_case;

bool lists(const Detection& found, const Pattern& pattern) {
  return std::ranges::find(found.satisfied, pattern, &DetectedPattern::pattern) !=
         found.satisfied.end();
}

bool compresses(const Case& c, const Pattern& pattern) {
  try {
    compress(c.view(), pattern);
  } catch (const InvalidArgument&) {
    return false;
  }
  return true;
}

Case full_case(Random& random, const char* pattern, int rows = 256, int cols = 256) {
  return random_case(
      random, Pattern::parse(pattern), rows, cols,
      {.underfull = false, .nonzero = true, .permutation = false, .segments = false});
}

TEST(Detect, FindsThePatternThatMadeTheWeight) {
  Random random(31);
  for (const char* pattern :
       {"1:4",    "2:4",      "3:4",       "4:8",       "2:8",        "8:32",        "2:16",
        "4:32",   "vw4/2:4",  "vw32/8:32", "vw64/4:16", "bw4x4/8:32", "bw32x32/1:2", "bw16x16/1:4",
        "64:2:8", "128:2:16", "16:2:5",    "64:2:7",    "32:1:8",     "128:2:100"}) {
    const Case c = full_case(random, pattern);
    const Detection found = detect(c.view());
    EXPECT_EQ(found.tightest.to_string(), pattern);
    EXPECT_EQ(found.satisfied.front().pattern, found.tightest);
    EXPECT_TRUE(found.satisfied.back().pattern.is_dense());
    EXPECT_EQ(found.nonzeros, c.mask.count());
  }
}

TEST(Detect, DoesNotDependOnThreads) {
  Random random(33);
  for (const char* pattern : {"2:8", "vw32/8:32", "64:2:8"}) {
    Case c = full_case(random, pattern, 2048, 2048);
    const Detection one = detect(c.view(), {}, 1), four = detect(c.view(), {}, 4);
    EXPECT_EQ(one.tightest.to_string(), pattern);
    ASSERT_EQ(one.satisfied.size(), four.satisfied.size());
    for (std::size_t i = 0; i < one.satisfied.size(); ++i)
      EXPECT_EQ(one.satisfied[i].pattern, four.satisfied[i].pattern);
    // One weight too many, in the last group.
    std::ranges::fill(c.dense, std::byte{0});
    for (int col = 2044; col < 2048; ++col)
      testing::set_element(c.dense, c.dtype, 2047 * 2048 + col, 1);
    const std::vector<Pattern> candidates = {Pattern::parse("3:8"), Pattern::parse("4:8")};
    EXPECT_EQ(detect(c.view(), candidates, 4).tightest, candidates[1]);
  }
}

// The same answer as trying to compress, for any weight and any list.
TEST(Detect, AgreesWithCompress) {
  Random random(32);
  int satisfied = 0, refused = 0;
  for (int i = 0; i < 1500 && !HasFailure(); ++i) {
    const Case c = random_case(random, {.nonzero = true, .permutation = false, .segments = false});
    SCOPED_TRACE(c.name());
    std::vector<Pattern> candidates = {c.pattern};
    for (int k = 0; k < 6; ++k) candidates.push_back(testing::random_pattern(random));
    const Detection found = detect(c.view(), candidates, random.pick(1, 3));
    for (const Pattern& p : candidates) {
      if (Grid(p, {c.rows, c.cols, {}, {}}).kept() == c.cols) continue;  // prunes nothing
      EXPECT_EQ(lists(found, p), compresses(c, p)) << p.to_string();
      ++(lists(found, p) ? satisfied : refused);
    }
    EXPECT_EQ(found.nonzeros, c.mask.count());
  }
  EXPECT_GT(satisfied, 500);
  EXPECT_GT(refused, 500);
}

TEST(Detect, ADenseWeightIsDense) {
  const std::vector<float> dense(300 * 200, 1.0f);
  const Detection found = detect(dense_view(dense, 300, 200));
  EXPECT_TRUE(found.tightest.is_dense());
  EXPECT_EQ(found.satisfied.size(), 1u);
  EXPECT_EQ(found.density, 1);
}

TEST(Detect, MinusZeroIsAZeroAndNanIsNot) {
  std::vector<float> dense(64 * 64, -0.0f);
  EXPECT_EQ(detect(dense_view(dense, 64, 64)).nonzeros, 0);
  dense[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(detect(dense_view(dense, 64, 64)).nonzeros, 1);
}

TEST(Detect, EmptyWeightsAndBadOnes) {
  const Detection found = detect(DenseView{nullptr, Dtype::f32, 0, 16, 0});
  EXPECT_EQ(found.nonzeros, 0);
  EXPECT_EQ(found.density, 1);
  EXPECT_TRUE(detect(DenseView{nullptr, Dtype::f32, 16, 0, 0}).tightest.is_dense());
  EXPECT_THROW(detect(DenseView{nullptr, Dtype::f32, 4, 4, 0}), InvalidArgument);
  EXPECT_THROW(detect(DenseView{nullptr, Dtype::i64, 0, 4, 0}), InvalidArgument);
}

}  // namespace
}  // namespace coppice
