// Loading the dense library, and saying why not.
#include "bench/baseline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <stdlib.h>

#include <vector>

namespace coppice::bench {
namespace {

using ::testing::HasSubstr;

class BaselineFrom : public ::testing::Test {
 protected:
  void TearDown() override { unsetenv("COPPICE_OPENBLAS"); }
  static void expect_refused(const char* file) {
    setenv("COPPICE_OPENBLAS", file, 1);
    std::string why_not;
    EXPECT_EQ(Baseline::load(&why_not), nullptr);
    EXPECT_THAT(why_not, HasSubstr(file));
  }
};

TEST_F(BaselineFrom, AMissingFileIsNamed) { expect_refused("/nowhere/libopenblas.so"); }
TEST_F(BaselineFrom, AnotherLibraryIsRefused) { expect_refused("libm.so.6"); }

// OpenBLAS 0.3.26 asks OpenMP for its number of threads, and in the child that tries the library
// there are none of the team.
TEST_F(BaselineFrom, ATeamThatRanBeforeIsNoHindrance) {
  omp_set_num_threads(2);
#pragma omp parallel
  { EXPECT_LE(omp_get_num_threads(), 2); }
  std::string why_not;
  const auto baseline = Baseline::load(&why_not);
  if (!baseline) GTEST_SKIP() << why_not;
  std::vector<float> data(64 * 64, 1), out(64 * 64);
  baseline->multiply(data.data(), {data.data(), 64, 64, Layout::token_major, 0},
                     {out.data(), 64, 64, Layout::token_major, 0}, 1);
  EXPECT_EQ(out[0], 64);
  EXPECT_EQ(omp_get_max_threads(), 2);
}

TEST_F(BaselineFrom, TheSystemMultipliesInBothLayouts) {
  std::string why_not;
  const auto baseline = Baseline::load(&why_not);
  if (!baseline) GTEST_SKIP() << why_not;
  EXPECT_THAT(baseline->description(), HasSubstr("OpenBLAS"));
  constexpr std::int64_t kRows = 3, kCols = 5;
  std::vector<float> weight(kRows * kCols);
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(i) - 4;
  for (std::int64_t tokens : {1, 2, 7}) {
    for (Layout x_layout : {Layout::token_major, Layout::feature_major}) {
      for (Layout y_layout : {Layout::token_major, Layout::feature_major}) {
        std::vector<float> x_data(static_cast<std::size_t>(kCols * tokens));
        std::vector<float> y_data(static_cast<std::size_t>(kRows * tokens), -99);
        for (std::size_t i = 0; i < x_data.size(); ++i) x_data[i] = static_cast<float>(i % 4) - 1;
        const Activations x{x_data.data(), tokens, kCols, x_layout, 0};
        const MutableActivations y{y_data.data(), tokens, kRows, y_layout, 0};
        baseline->multiply(weight.data(), x, y, 1);
        for (std::int64_t t = 0; t < tokens; ++t)
          for (std::int64_t r = 0; r < kRows; ++r) {
            float sum = 0;  // of small whole numbers: exact
            for (std::int64_t c = 0; c < kCols; ++c)
              sum += weight[static_cast<std::size_t>(r * kCols + c)] * x.at(t, c);
            EXPECT_EQ(y.at(t, r), sum) << tokens << " tokens";
          }
      }
    }
  }
}

}  // namespace
}  // namespace coppice::bench
