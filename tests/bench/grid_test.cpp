// The grid of nmSPARSE: which cases, in which order, with which patterns.
#include "bench/grid.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>
#include <tuple>

#include "coppice/error.h"

namespace coppice::bench {
namespace {

constexpr std::array kDtypes = {Dtype::f16, Dtype::f32};

double kept_of(const BenchCase& c) {
  WeightShape shape;
  shape.rows = c.rows;
  shape.cols = c.cols;
  return Grid(c.pattern, shape).density();
}

TEST(NmsparseGrid, IsEveryShapeSparsityKindAndDtypeOnce) {
  const auto shapes = built_in_shapes(kNmsparse);
  ASSERT_EQ(shapes.size(), 32u);
  std::set<std::string> names;
  for (const Shape& shape : shapes) names.insert(shape.name);
  for (int i = 1; i <= 32; ++i) EXPECT_TRUE(names.contains("M" + std::to_string(i))) << i;

  const auto cases = nmsparse_grid(shapes, kDtypes);
  EXPECT_EQ(cases.size(), 32u * 3 * 6 * 2);
  std::set<std::tuple<std::string, int, std::string, Dtype>> different;
  for (const BenchCase& c : cases) {
    different.insert({c.name, c.sparsity, c.kind, c.dtype});
    EXPECT_EQ(c.set, "nmsparse");
    EXPECT_EQ(c.layout, Layout::feature_major);
  }
  EXPECT_EQ(different.size(), cases.size());
  EXPECT_EQ(nmsparse_grid(shapes, std::array{Dtype::f16}).size(), cases.size() / 2);
  EXPECT_TRUE(nmsparse_grid({}, kDtypes).empty());
}

TEST(NmsparseGrid, KeepsWhatItsSparsitySays) {
  for (const BenchCase& c : nmsparse_grid(built_in_shapes(kNmsparse), kDtypes)) {
    // 3 of 32 are 9.4 %, 2 of 16 12.5 %.
    const double off = c.sparsity < 90 ? 0 : 0.026;
    EXPECT_NEAR(kept_of(c), 1 - c.sparsity / 100.0, off) << c.name << " " << c.pattern.to_string();
  }
}

TEST(NmsparseGrid, PatternsOfTheKinds) {
  const auto spelled = [](const char* kind, int sparsity, std::int64_t cols) {
    return grid_pattern(kind, sparsity, cols).to_string();
  };
  EXPECT_EQ(spelled("EW", 50, 1024), "16:32");
  EXPECT_EQ(spelled("EW", 90, 20480), "3:32");
  EXPECT_EQ(spelled("VW4", 75, 4096), "vw4/8:32");
  EXPECT_EQ(spelled("VW32", 75, 4096), "vw32/8:32");
  EXPECT_EQ(spelled("VW64", 90, 4096), "vw64/3:32");
  EXPECT_EQ(spelled("BW4x4", 50, 1024), "bw4x4/16:32");
  EXPECT_EQ(spelled("BW64x64", 90, 4096), "bw64x64/3:32");
  // Groups of 32 blocks would not be full.
  EXPECT_EQ(spelled("BW64x64", 50, 1024), "bw64x64/8:16");
  EXPECT_EQ(spelled("BW64x64", 90, 1024), "bw64x64/2:16");
  EXPECT_EQ(spelled("BW64x64", 75, 5120), "bw64x64/4:16");
  EXPECT_EQ(spelled("BW64x64", 90, 512), "bw64x64/1:8");
  // Nothing fits: as if it did.
  EXPECT_EQ(spelled("EW", 75, 333), "8:32");
  EXPECT_THROW(spelled("VW5", 75, 4096), InvalidArgument);
  EXPECT_THROW(spelled("EW", 60, 4096), InvalidArgument);
}

TEST(NmsparseGrid, GoesWeightAfterWeight) {
  const auto cases = nmsparse_grid(built_in_shapes(kNmsparse), kDtypes);
  std::set<std::tuple<std::int64_t, std::int64_t, Dtype, std::string>> left;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto weight = [&](const BenchCase& c) {
      return std::tuple{c.rows, c.cols, c.dtype, c.pattern.to_string()};
    };
    EXPECT_FALSE(left.contains(weight(cases[i]))) << "a weight is made twice";
    if (i + 1 < cases.size() && weight(cases[i]) != weight(cases[i + 1]))
      left.insert(weight(cases[i]));
  }
  EXPECT_EQ(left.size() + 1, 8u * 2 * 3 * 6) << "eight shapes of weights";
}

}  // namespace
}  // namespace coppice::bench
