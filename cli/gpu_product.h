// One weight on the GPU, multiplied by activations of the host: for checks, not for speed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "coppice/linear.h"
#include "coppice/sparse_matrix.h"

namespace coppice::cuda {
class PackedWeight;
}

namespace coppice::cli {

class GpuProduct {
 public:
  explicit GpuProduct(const SparseView& weight);
  ~GpuProduct();

  /// y = W x in fp32, both in `layout`. x is rounded to the weight's dtype; outputs that are not
  /// written are NaN.
  std::vector<float> multiply(std::span<const float> x, std::int64_t tokens, Layout layout) const;
  std::string kernel(std::int64_t tokens, Layout layout) const;

 private:
  std::unique_ptr<cuda::PackedWeight> weight_;
};

}  // namespace coppice::cli
