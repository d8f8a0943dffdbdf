#include "core/parallel_for.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>

namespace coppice {
namespace {

// Keeps the first exception of a team; an exception must not leave an OpenMP region.
class FirstException {
 public:
  template <typename Body>
  void guard(Body&& body) {
    try {
      body();
    } catch (...) {
      if (!taken_.exchange(true)) first_ = std::current_exception();
    }
  }
  bool raised() const { return taken_.load(std::memory_order_relaxed); }
  void rethrow() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  std::atomic<bool> taken_ = false;
  std::exception_ptr first_;
};

}  // namespace

void parallel_for(std::int64_t count, int threads, const std::function<void(std::int64_t)>& body) {
  const int team = static_cast<int>(std::clamp<std::int64_t>(count, 1, std::max(threads, 1)));
  if (team == 1) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  FirstException error;
#pragma omp parallel for num_threads(team) schedule(dynamic)
  for (std::int64_t i = 0; i < count; ++i) {
    if (!error.raised()) error.guard([&] { body(i); });
  }
  error.rethrow();
}

void parallel_ranges(std::int64_t count, int threads,
                     const std::function<void(std::int64_t, std::int64_t, int)>& body) {
  const std::int64_t parts = std::clamp<std::int64_t>(count, 1, std::max(threads, 1));
  parallel_for(parts, threads, [&](std::int64_t part) {
    body(count * part / parts, count * (part + 1) / parts, static_cast<int>(part));
  });
}

int available_threads() {
  return std::clamp(omp_get_num_procs(), 1, std::max(1, omp_get_thread_limit()));
}

}  // namespace coppice
