// The dense product to beat: the fastest of cublasGemmEx and cuBLASLt's heuristics, over layouts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/cuda/device.h"

namespace coppice::bench {

struct DenseProblem {
  std::int64_t rows = 0, cols = 0, tokens = 0;
  /// f16, bf16, f32, or f8_e4m3: then the output is f16, by cuBLASLt alone, token-major.
  Dtype dtype = Dtype::f16;

  std::int64_t weight_bytes() const { return rows * cols * dtype_bytes(dtype); }
  std::int64_t activation_bytes() const { return cols * tokens * dtype_bytes(dtype); }
  std::int64_t output_bytes() const {
    return rows * tokens * dtype_bytes(dtype == Dtype::f8_e4m3 ? Dtype::f16 : dtype);
  }
  std::int64_t bytes() const { return weight_bytes() + activation_bytes() + output_bytes(); }
};

/// Dense weights of one shape and type, as many as are rotated over.
class DenseWeights {
 public:
  DenseWeights(std::int64_t rows, std::int64_t cols, Dtype dtype);
  std::size_t count() const { return copies_.size(); }
  const std::byte* operator[](std::size_t i) const { return copies_[i].data(); }

 private:
  std::vector<DeviceMemory> copies_;
};

/// Operands of a dense product that are rotated over at least 160 MB together.
struct DenseOperands {
  /// `weights` must outlive it.
  DenseOperands(const DenseProblem& problem, const DenseWeights& weights);

  const DenseWeights& w;
  std::vector<DeviceMemory> x, y;
  std::size_t turn(int call) const { return static_cast<std::size_t>(call) % x.size(); }
};

/// Operands and the fastest way of the libraries to multiply them.
class DenseProduct {
 public:
  /// `weights` must outlive it. Throws std::runtime_error if cuBLAS is not there.
  DenseProduct(const DenseProblem& problem, const DenseWeights& weights, cudaStream_t stream);
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
