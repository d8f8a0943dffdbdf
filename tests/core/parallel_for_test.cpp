#include "core/parallel_for.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace coppice {
namespace {

TEST(ParallelFor, CallsEveryIndexOnce) {
  for (int threads : {0, 1, 2, 7}) {
    for (std::int64_t count : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<std::size_t>(count));
      parallel_for(count, threads, [&](std::int64_t i) { ++hits[static_cast<std::size_t>(i)]; });
      for (auto& hit : hits) EXPECT_EQ(hit, 1);
    }
  }
}

TEST(ParallelFor, RangesCoverEverything) {
  for (int threads : {1, 3, 8}) {
    std::atomic<std::int64_t> sum = 0;
    parallel_ranges(1001, threads, [&](std::int64_t begin, std::int64_t end, int thread) {
      EXPECT_LT(thread, threads);
      sum += end - begin;
    });
    EXPECT_EQ(sum, 1001);
  }
}

TEST(ParallelFor, RethrowsTheFirstException) {
  for (int threads : {1, 4})
    EXPECT_THROW(parallel_for(100, threads,
                              [](std::int64_t i) {
                                if (i % 10 == 3) throw std::runtime_error("stop");
                              }),
                 std::runtime_error);
}

}  // namespace
}  // namespace coppice
