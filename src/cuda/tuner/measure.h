// Times kernel configurations of one product on the device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/cuda.h"
#include "cuda/check.h"
#include "cuda/select.h"
#include "cuda/tuner/replay.h"

namespace coppice::cuda {

/// Operands like those of a weight, of random content, in so many copies that no call finds its own
/// in L2: a layer of a model does not either.
class TuneOperands {
 public:
  /// For up to `most_tokens` tokens. On the weight's device, which must be the current one.
  TuneOperands(const PackedWeight& weight, std::int64_t most_tokens);

  /// Median seconds of one product for each configuration: graphs of back-to-back calls, in turn
  /// over several rounds, so that a change of the clock meets all of them.
  std::vector<double> seconds(std::span<const Selection> selections, std::int64_t tokens,
                              Layout layout) const;

 private:
  void copy_weight(const PackedWeight& weight, std::size_t copies);

  std::vector<PackedWeight> weights_;
  std::size_t activations_ = 1;            // copies of x and y
  std::size_t x_bytes_ = 0, y_bytes_ = 0;  // of one
  DeviceBuffer x_, y_, workspace_;
  Owned<cudaStream_t> stream_;
};

}  // namespace coppice::cuda
