// The dense product to beat: the fastest of cublasGemmEx and cuBLASLt's heuristics, over layouts.
#pragma once

#include <memory>
#include <string>

#include "bench/cuda/device.h"

namespace coppice::bench {

struct DenseProblem {
  std::int64_t rows = 0, cols = 0, tokens = 0;
  bool bf16 = false;
  bool fp8 = false;  ///< e4m3 operands, f16 output; cuBLASLt alone, token-major
};

/// Owns operands (rotated over at least 160 MB) and a way to multiply them.
class DenseProduct {
 public:
  /// Throws std::runtime_error if cuBLAS is not there.
  DenseProduct(const DenseProblem& problem, cudaStream_t stream);
  ~DenseProduct();
  /// Tries every algorithm and keeps the fastest. @returns false if none runs.
  bool choose();
  DeviceCall call() const;
  /// Such as "cublasLt TN #3".
  const std::string& name() const { return name_; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::string name_;
};

}  // namespace coppice::bench
