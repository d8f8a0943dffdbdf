// Whole cases: checked, timed, and refused where they cannot exist.
#include "bench/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/bandwidth.h"
#include "coppice/error.h"

namespace coppice::bench {
namespace {

using ::testing::StartsWith;

// One for all: it measures the machine's bandwidth first.
TEST(Bench, RunsEveryLayoutAndDtypeWithoutABaselineAndRefusesWhatCannotExist) {
  EXPECT_THROW(Bench({.threads = 0}), InvalidArgument);
  Bench bench({.threads = 1,
               .with_baseline = false,
               .timing = {.rounds = 1, .samples = 2, .sample_seconds = 0}});
  EXPECT_GT(bench.streaming_bandwidth(), 0);
  EXPECT_THAT(bench.baseline_description(), StartsWith("none"));
  for (Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::f16}) {
    for (Layout layout : {Layout::token_major, Layout::feature_major}) {
      const BenchResult r = bench.run({.pattern = Pattern::parse("vw16/4:16"),
                                       .rows = 1030,
                                       .cols = 1001,
                                       .tokens = layout == Layout::token_major ? 1 : 5,
                                       .dtype = dtype,
                                       .layout = layout});
      EXPECT_TRUE(r.correct) << r.error << " > " << r.error_bound;
      EXPECT_GT(r.candidate.median_seconds, 0);
      EXPECT_EQ(r.candidate.samples, 2);
      EXPECT_EQ(r.baseline.samples, 0);
      EXPECT_EQ(r.speedup(), 0);
      EXPECT_GT(r.own_bytes, 0);
      EXPECT_NE(r.kernel, "");
    }
  }
  const Pattern pattern = Pattern::parse("2:4");
  EXPECT_THROW(bench.run({.pattern = pattern, .rows = 0, .cols = 4}), InvalidArgument);
  EXPECT_THROW(bench.run({.pattern = pattern, .rows = 4, .cols = 4, .tokens = 0}), InvalidArgument);
}

TEST(Bandwidth, TheCacheHasASize) { EXPECT_GT(last_level_cache_bytes(), 0); }

}  // namespace
}  // namespace coppice::bench
