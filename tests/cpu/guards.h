// What lies between the rows of a matrix in memory.
#pragma once

#include <vector>

namespace coppice::cpu {

/// Whether the memory in which the elements of `view` lie is as is_guard wants it everywhere else.
template <typename T, typename View, typename IsGuard>
bool guards_hold(const std::vector<T>& memory, const View& view, const IsGuard& is_guard) {
  std::vector<bool> owned(memory.size());
  for (std::int64_t t = 0; t < view.tokens; ++t)
    for (std::int64_t f = 0; f < view.features; ++f)
      owned[static_cast<std::size_t>(&view.at(t, f) - memory.data())] = true;
  for (std::size_t i = 0; i < memory.size(); ++i)
    if (!owned[i] && !is_guard(memory[i])) return false;
  return true;
}

}  // namespace coppice::cpu
