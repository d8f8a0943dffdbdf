// Loops whose first fault does not depend on the number of threads.
#pragma once

#include <cstdint>
#include <functional>

namespace coppice {

/// Splits [0, count) into at most `threads` ranges and calls body(begin, end) for each, one per
/// thread. A body works upwards and throws at its first fault; after all have ended, the exception
/// of the lowest range is rethrown, which is the first fault of all.
void ordered_ranges(std::int64_t count, int threads,
                    const std::function<void(std::int64_t, std::int64_t)>& body);

}  // namespace coppice
