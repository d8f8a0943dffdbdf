// Activations and outputs of the products of one shape, rotated so that L2 holds none of them
// between calls; and whether a product of them is right.
#pragma once

#include <cstdint>

#include "bench/bench.h"
#include "bench/cuda/device.h"
#include "coppice/cuda.h"

namespace coppice::bench {

class RotatedActivations {
 public:
  /// Those of a case; its pattern does not matter.
  explicit RotatedActivations(const BenchCase& c);

  bool fits(const BenchCase& c) const {
    return c.rows == rows_ && c.cols == cols_ && c.tokens == tokens_ && c.dtype == dtype_ &&
           c.layout == layout_;
  }
  bool same_weight(const BenchCase& c) const {
    return c.rows == rows_ && c.cols == cols_ && c.dtype == dtype_;
  }
  /// Enough for products that move nothing else.
  std::size_t count() const { return count_; }
  cuda::Matrix input(std::size_t i) const;
  cuda::MutableMatrix output(std::size_t i) const;

  /// Runs call 0, which writes output 0, into poison. @returns the error of sampled outputs against
  /// a product by `matrix` of input 0 (NaN if one was left unwritten).
  double error(const SparseMatrix& matrix, const DeviceCall& call, int samples,
               cudaStream_t stream) const;

 private:
  std::int64_t rows_, cols_, tokens_;
  Dtype dtype_;
  Layout layout_;
  std::size_t count_;
  std::size_t x_step_, y_step_;  ///< bytes from one to the next
  DeviceMemory x_, y_;
};

}  // namespace coppice::bench
