// Operands of one sparse product on the GPU, rotated so that L2 holds none of them between calls.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/bench.h"
#include "bench/cuda/device.h"
#include "coppice/cuda.h"
#include "cuda/select.h"

namespace coppice::bench {

class SparseProduct {
 public:
  /// `weight` must outlive it.
  SparseProduct(const SparseMatrix& weight, const BenchCase& bench_case);

  cuda::PackedWeight& first_weight() { return weights_[0]; }
  /// What the library would run.
  cuda::Selection chosen() const;
  /// Every way to run it, the untuned choice first.
  std::vector<cuda::Selection> candidates() const;
  DeviceCall call(const cuda::Selection& selection) const;

  /// Runs one call into a poisoned output. @returns the error of sampled outputs (NaN if one was
  /// left unwritten).
  double error(const cuda::Selection& selection, cudaStream_t stream);

 private:
  const SparseMatrix& matrix_;
  std::int64_t tokens_;
  std::vector<cuda::PackedWeight> weights_;
  std::vector<DeviceMemory> x_, y_, workspace_;
  std::vector<cuda::Matrix> inputs_;
  std::vector<cuda::MutableMatrix> outputs_;
  std::int64_t workspace_bytes_ = 0;
};

}  // namespace coppice::bench
