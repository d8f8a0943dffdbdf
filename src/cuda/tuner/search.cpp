#include "cuda/tuner/search.h"

#include <algorithm>
#include <numeric>

#include "cuda/candidates.h"

namespace coppice::cuda {
namespace {

constexpr double kNoise = 0.02;
constexpr std::size_t kFinalists = 2;

std::vector<std::size_t> fastest_first(const std::vector<double>& seconds) {
  std::vector<std::size_t> order(seconds.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return seconds[i]; });
  return order;
}

}  // namespace

SearchResult search_fastest(const ProductInfo& product, const DeviceInfo& device,
                            const Measure& measure) {
  std::vector<Selection> tiles = candidates(product, device);
  const Selection untuned = tiles[0];
  std::erase_if(tiles, [&](const Selection& s) { return !same_sums(s, untuned); });

  // The untuned choice takes part in the second round as well: both are compared in one run.
  std::vector<Selection> finals{untuned};
  const std::vector<std::size_t> order = fastest_first(measure(tiles));
  for (std::size_t i = 0; i < std::min(kFinalists, order.size()); ++i) {
    const Selection& tile = tiles[order[i]];
    if (order[i] != 0) finals.push_back(tile);
    for (const Selection& other : token_groups(tile, product)) finals.push_back(other);
  }
  const std::vector<double> seconds = measure(finals);
  const std::size_t best = fastest_first(seconds)[0];
  if (seconds[best] < (1 - kNoise) * seconds[0]) return {finals[best], seconds[best], seconds[0]};
  return {untuned, seconds[0], seconds[0]};
}

}  // namespace coppice::cuda
