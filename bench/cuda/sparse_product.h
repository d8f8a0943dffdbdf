// Operands of one sparse product on the GPU, rotated so that L2 holds none of them between calls.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/bench.h"
#include "bench/cuda/device.h"
#include "coppice/cuda.h"
#include "cuda/select.h"

namespace coppice::bench {

/// A random weight and its packed copies, all of the same content: what matters is that they lie
/// elsewhere.
class RotatedWeight {
 public:
  /// Throws InvalidArgument if the library does not multiply by such a weight.
  explicit RotatedWeight(const BenchCase& c);

  bool fits(const BenchCase& c) const {
    return c.pattern == matrix_.pattern() && c.dtype == matrix_.dtype && c.rows == matrix_.rows() &&
           c.cols == matrix_.cols();
  }
  const SparseMatrix& matrix() const { return matrix_; }
  std::size_t count() const { return copies_.size(); }
  cuda::PackedWeight& operator[](std::size_t i) { return copies_[i]; }
  const cuda::PackedWeight& operator[](std::size_t i) const { return copies_[i]; }

 private:
  SparseMatrix matrix_;
  std::vector<cuda::PackedWeight> copies_;
};

class SparseProduct {
 public:
  /// `weight` must outlive it and fit the case.
  SparseProduct(const RotatedWeight& weight, const BenchCase& bench_case);

  /// What the library would run.
  cuda::Selection chosen() const;
  /// Every way to run it, the untuned choice first.
  std::vector<cuda::Selection> candidates() const;
  DeviceCall call(const cuda::Selection& selection) const;

  /// Runs one call into a poisoned output. @returns the error of sampled outputs (NaN if one was
  /// left unwritten).
  double error(const cuda::Selection& selection, cudaStream_t stream);

 private:
  const RotatedWeight& weight_;
  std::int64_t tokens_;
  std::vector<DeviceMemory> x_, y_, workspace_;
  std::vector<cuda::Matrix> inputs_;
  std::vector<cuda::MutableMatrix> outputs_;
  std::int64_t workspace_bytes_ = 0;
};

}  // namespace coppice::bench
