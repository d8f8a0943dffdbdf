// How many thread blocks of clusters run at the same time. Pure host code.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace coppice::cuda {

/// Of `residents` thread blocks on every multiprocessor, in clusters of 1 to 8 ranks: larger ones
/// do not use every multiprocessor (H200: of 6 and more ranks 14 clusters find room; 16 of 7 take
/// two rounds).
inline int resident_blocks(int multiprocessors, int residents, int ranks) {
  constexpr std::array kPercent = {100, 100, 90, 90, 85, 64, 75, 85};
  const int share = kPercent[static_cast<std::size_t>(ranks - 1)];
  return std::max(ranks, multiprocessors * residents * share / 100 / ranks * ranks);
}

}  // namespace coppice::cuda
