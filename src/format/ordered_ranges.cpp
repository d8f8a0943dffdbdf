#include "format/ordered_ranges.h"

#include <algorithm>
#include <exception>
#include <vector>

#include "core/parallel_for.h"

namespace coppice {

void ordered_ranges(std::int64_t count, int threads,
                    const std::function<void(std::int64_t, std::int64_t)>& body) {
  const auto most_ranges = std::clamp<std::int64_t>(count, 1, std::max(threads, 1));
  std::vector<std::exception_ptr> faults(static_cast<std::size_t>(most_ranges));
  parallel_ranges(count, threads, [&](std::int64_t begin, std::int64_t end, int part) {
    try {
      body(begin, end);
    } catch (...) {
      faults[static_cast<std::size_t>(part)] = std::current_exception();
    }
  });
  for (const std::exception_ptr& fault : faults)
    if (fault) std::rethrow_exception(fault);
}

}  // namespace coppice
