// Loops over independent pieces of work. Not part of the public API.
#pragma once

#include <cstdint>
#include <functional>

namespace coppice {

/// Calls body(i) for every i in [0, count), on up to `threads` threads (the caller's among them),
/// in any order. The first exception thrown by a body is rethrown here, after all threads have
/// stopped; bodies not yet started are skipped.
void parallel_for(std::int64_t count, int threads, const std::function<void(std::int64_t)>& body);

/// Splits [0, count) into at most `threads` contiguous ranges and calls body(begin, end, thread)
/// for each, one per thread.
void parallel_ranges(std::int64_t count, int threads,
                     const std::function<void(std::int64_t, std::int64_t, int)>& body);

/// Threads that this process may run on: the default where a caller gives none.
int available_threads();

}  // namespace coppice
