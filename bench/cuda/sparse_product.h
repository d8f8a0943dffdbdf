// Operands of one sparse product on the GPU, rotated so that L2 holds none of them between calls.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bench/bench.h"
#include "bench/cuda/device.h"
#include "bench/cuda/rotated_activations.h"
#include "coppice/cuda.h"
#include "cuda/select.h"

namespace coppice::bench {

/// A random weight and its packed copies, all of the same content: what matters is that they lie
/// elsewhere.
class RotatedWeight {
 public:
  /// @param before a weight whose values are taken over if there are as many of the same dtype.
  /// Throws InvalidArgument if the library does not multiply by such a weight.
  explicit RotatedWeight(const BenchCase& c, std::unique_ptr<RotatedWeight> before = nullptr);

  bool fits(const BenchCase& c) const {
    return c.pattern == matrix_.pattern() && c.dtype == matrix_.dtype && c.rows == matrix_.rows() &&
           c.cols == matrix_.cols();
  }
  const SparseMatrix& matrix() const { return matrix_; }
  /// matrix().values in device memory.
  const std::byte* device_values() const { return values_->data(); }
  std::size_t count() const { return copies_.size(); }
  cuda::PackedWeight& operator[](std::size_t i) { return copies_[i]; }
  const cuda::PackedWeight& operator[](std::size_t i) const { return copies_[i]; }

 private:
  void take_over(RotatedWeight& before, const BenchCase& c);

  SparseMatrix matrix_;
  std::unique_ptr<DeviceMemory> values_;
  std::vector<cuda::PackedWeight> copies_;
};

class SparseProduct {
 public:
  /// `weight` and `activations` must outlive it and fit the case.
  SparseProduct(const RotatedWeight& weight, const RotatedActivations& activations,
                const BenchCase& bench_case);

  /// What the library would run.
  cuda::Selection chosen() const;
  /// Every way to run it, the untuned choice first.
  std::vector<cuda::Selection> candidates() const;
  DeviceCall call(const cuda::Selection& selection) const;

  /// Runs one call into a poisoned output. @returns the error of sampled outputs (NaN if one was
  /// left unwritten).
  double error(const cuda::Selection& selection, int samples, cudaStream_t stream) const;

 private:
  std::int64_t workspace_for(std::int64_t tokens) const;

  const RotatedWeight& weight_;
  const RotatedActivations& activations_;
  std::size_t copies_;
  std::int64_t workspace_bytes_;
  DeviceMemory workspace_;
};

}  // namespace coppice::bench
