// Medians, and the order and the operands of what is timed.
#include "bench/timing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

namespace coppice::bench {
namespace {

using ::testing::ElementsAre;

TEST(Median, OddEvenAndNothing) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 9, 2}), 3);
  EXPECT_EQ(median({7, 7, 7, 1000}), 7) << "one outlier changes nothing";
}

TEST(Clock, NeverGoesBack) {
  double last = now_seconds();
  for (int i = 0; i < 1000; ++i) {
    const double now = now_seconds();
    ASSERT_GE(now, last);
    last = now;
  }
}

// Calls of both sides, as letters in their order.
std::string order_of_calls(const TimingOptions& options) {
  std::string order;
  time_interleaved([&](int) { order += 'a'; }, [&](int) { order += 'b'; }, options);
  return order;
}

TEST(Interleaved, PhasesAlternateAndBeginWithACallThatDoesNotCount) {
  // No repeats: every call lasts longer than a sample.
  EXPECT_EQ(order_of_calls({.rounds = 2, .samples = 3, .sample_seconds = 0}),
            "aaaabbbbaaaabbbbaaaa");
}

TEST(Interleaved, OperandsRotateThroughAllPhases) {
  std::vector<int> turns;
  const auto times = time_interleaved({}, [&](int turn) { turns.push_back(turn); },
                                      {.rounds = 2, .samples = 2, .sample_seconds = 0});
  EXPECT_THAT(turns, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(times.candidate.samples, 4);
  EXPECT_EQ(times.baseline.samples, 0) << "there is no baseline";
  EXPECT_EQ(times.baseline.median_seconds, 0);
}

TEST(Interleaved, ShortCallsAreRepeatedWithinASample) {
  int calls = 0;
  time_interleaved({}, [&](int) { ++calls; }, {.rounds = 1, .samples = 2, .sample_seconds = 1e-3});
  EXPECT_GT(calls, 100);
}

TEST(Interleaved, MeasuresWhatACallTakes) {
  const auto sleep = [](int) { std::this_thread::sleep_for(std::chrono::milliseconds(3)); };
  const Timing time =
      time_interleaved({}, sleep, {.rounds = 1, .samples = 3, .sample_seconds = 1e-3}).candidate;
  EXPECT_EQ(time.samples, 3);
  EXPECT_GE(time.min_seconds, 3e-3);
  EXPECT_LE(time.min_seconds, time.median_seconds);
  EXPECT_LE(time.median_seconds, time.max_seconds);
}

}  // namespace
}  // namespace coppice::bench
