// Layers side by side: never more threads or memory than there are, every layer once.
#include "layer_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

namespace coppice::cli {
namespace {

// What ran, and what it took at its peak.
struct Seen {
  std::vector<int> runs, threads;
  int peak_threads = 0;
  std::uint64_t peak_bytes = 0;
  bool alone_when_too_large = true;
};

Seen run(const std::vector<std::uint64_t>& needs, int threads, std::uint64_t bytes,
         std::chrono::microseconds each = std::chrono::microseconds(200)) {
  Seen seen{std::vector<int>(needs.size()), std::vector<int>(needs.size())};
  std::mutex mutex;
  int used = 0, running = 0;
  std::uint64_t taken = 0;
  run_layers(needs, threads, bytes, [&](std::size_t i, int layer_threads) {
    {
      const std::lock_guard lock(mutex);
      ++seen.runs[i];
      seen.threads[i] = layer_threads;
      ++running;
      seen.peak_threads = std::max(seen.peak_threads, used += layer_threads);
      taken += needs[i];
      if (taken > bytes)
        seen.alone_when_too_large &= running == 1;
      else
        seen.peak_bytes = std::max(seen.peak_bytes, taken);
    }
    std::this_thread::sleep_for(each);
    const std::lock_guard lock(mutex);
    used -= layer_threads;
    taken -= needs[i];
    --running;
  });
  return seen;
}

TEST(LayerQueue, StaysWithinItsBounds) {
  std::mt19937 random(1);
  for (int round = 0; round < 30; ++round) {
    std::vector<std::uint64_t> needs(random() % 20);
    for (auto& need : needs) need = random() % 100;
    const int threads = 1 + static_cast<int>(random() % 6);
    const Seen seen = run(needs, threads, 90);
    EXPECT_THAT(seen.runs, ::testing::Each(1));
    EXPECT_THAT(seen.threads, ::testing::Each(::testing::Ge(1)));
    EXPECT_LE(seen.peak_threads, threads);
    EXPECT_LE(seen.peak_bytes, 90u);
    EXPECT_TRUE(seen.alone_when_too_large);
  }
}

TEST(LayerQueue, SmallLayersSideBySideLargeOnesWithAllThreads) {
  // Long enough for all to begin before the first is done, whose threads the last would get.
  EXPECT_THAT(run({10, 10, 10, 10}, 4, 100, std::chrono::milliseconds(200)).threads,
              ::testing::Each(1));
  EXPECT_THAT(run({90, 90, 90}, 4, 100).threads, ::testing::Each(4));
  EXPECT_THAT(run({40}, 4, 100).threads, ::testing::ElementsAre(4));
}

TEST(LayerQueue, TheFirstErrorEndsIt) {
  const std::vector<std::uint64_t> needs(50, 1);
  std::atomic<int> begun = 0;
  EXPECT_THROW(run_layers(needs, 3, 10,
                          [&](std::size_t i, int) {
                            ++begun;
                            if (i == 4) throw std::runtime_error("a layer");
                            // So that the others cannot all be done before it is thrown.
                            std::this_thread::sleep_for(std::chrono::milliseconds(20));
                          }),
               std::runtime_error);
  EXPECT_LT(begun, 50);
}

TEST(LayerQueue, MemoryOfThisMachine) {
  EXPECT_GT(available_memory(), 1u << 20);
  EXPECT_LT(available_memory(), std::uint64_t{1} << 50);
}

}  // namespace
}  // namespace coppice::cli
