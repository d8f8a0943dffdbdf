#include "bench/bandwidth.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "bench/timing.h"
#include "core/parallel_for.h"

namespace coppice::bench {
namespace {

// Sum of the words, on enough independent chains that only memory limits it. The compiler
// vectorises the inner loop.
std::uint64_t sum_words(const std::uint64_t* words, std::int64_t count) {
  constexpr std::int64_t kChains = 16;
  std::array<std::uint64_t, kChains> sums{};
  std::int64_t i = 0;
  for (; i + kChains <= count; i += kChains)
    for (std::int64_t c = 0; c < kChains; ++c) sums[static_cast<std::size_t>(c)] += words[i + c];
  std::uint64_t total = 0;
  for (; i < count; ++i) total += words[i];
  for (std::uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

std::int64_t last_level_cache_bytes() {
  const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? bytes : std::int64_t{32} << 20;
}

double streaming_read_bandwidth(int threads) {
  // A whole number of huge pages.
  const std::int64_t bytes =
      std::max<std::int64_t>(8 * last_level_cache_bytes(), 256 << 20) >> 21 << 21;
  // Huge pages, where the system gives them: the roof must not be lowered by page walks.
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const std::unique_ptr<void, void (*)(void*)> memory(
      std::aligned_alloc(kHugePage, static_cast<std::size_t>(bytes)), std::free);
  if (!memory) throw std::bad_alloc();
  madvise(memory.get(), static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  const std::span<std::uint64_t> buffer(static_cast<std::uint64_t*>(memory.get()),
                                        static_cast<std::size_t>(bytes / 8));
  parallel_ranges(std::ssize(buffer), threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i)
      buffer[static_cast<std::size_t>(i)] = static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15u;
  });
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
  std::vector<double> seconds;
  for (int sweep = 0; sweep < 9; ++sweep) {
    const double start = now_seconds();
    parallel_ranges(
        std::ssize(buffer), threads, [&](std::int64_t begin, std::int64_t end, int thread) {
          sums[static_cast<std::size_t>(thread)] += sum_words(buffer.data() + begin, end - begin);
        });
    seconds.push_back(now_seconds() - start);
  }
  // The sums must be needed, or the reads may be removed.
  volatile std::uint64_t sink = 0;
  for (std::uint64_t sum : sums) sink = sink + sum;
  return static_cast<double>(bytes) / median(seconds);
}

}  // namespace coppice::bench
