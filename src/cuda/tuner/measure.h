// Times kernel configurations of one product on the device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/cuda.h"
#include "cuda/check.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Random activations, outputs and a buffer that pushes both out of L2, for one weight and up to
/// `most_tokens` tokens. The weight must outlive it.
class TuneOperands {
 public:
  TuneOperands(const PackedWeight& weight, std::int64_t most_tokens);

  Matrix input(std::int64_t tokens, Layout layout) const;

  /// Median seconds of one product for each configuration, in turn over several rounds, so that a
  /// change of the clock meets all of them. Synchronises `stream`.
  std::vector<double> seconds(std::span<const Selection> selections, std::int64_t tokens,
                              Layout layout, Stream stream) const;

 private:
  const PackedWeight& weight_;
  DeviceBuffer x_, y_, workspace_, flush_;
};

}  // namespace coppice::cuda
