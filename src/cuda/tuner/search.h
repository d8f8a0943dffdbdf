// Which configurations are measured, and which of them wins. Pure host code.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "cuda/select.h"

namespace coppice::cuda {

/// Measures configurations against each other. @returns seconds, one for each.
using Measure = std::function<std::vector<double>(std::span<const Selection>)>;

struct SearchResult {
  Selection best;
  double seconds = 0;
  double untuned_seconds = 0;
};

/// Measures every configuration that gives the same bits as the untuned one, then the fastest two
/// with other token groups. The untuned one stays unless another is faster by more than measuring
/// again would change.
SearchResult search_fastest(const ProductInfo& product, const DeviceInfo& device,
                            const Measure& measure);

}  // namespace coppice::cuda
