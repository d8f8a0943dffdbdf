// A dense product for 1 to 8 tokens of our own: what a well made kernel reaches without sparsity.
#pragma once

#include "bench/cuda/dense.h"

namespace coppice::bench {

inline constexpr std::int64_t kGemvTokens = 8;

/// True if the kernel takes it: 1 to 8 tokens of f16, bf16 or f32, and rows of the weight that are
/// a multiple of 16 bytes long.
bool gemv_takes(const DenseProblem& problem);

/// Operands of one launch, in device memory, all of one type and 16-byte aligned.
struct GemvArguments {
  const void* w = nullptr;  ///< [rows, cols]
  const void* x = nullptr;  ///< [tokens, cols]
  void* y = nullptr;        ///< [tokens, rows]
  std::int64_t rows = 0, cols = 0;
  int tokens = 1;
};

/// Enqueues y = w x. The problem must be one that it takes.
void launch_gemv(Dtype dtype, const GemvArguments& arguments, cudaStream_t stream);

/// Operands rotated over at least 160 MB. `weights` must outlive it.
class GemvProduct {
 public:
  GemvProduct(const DenseProblem& problem, const DenseWeights& weights)
      : problem_(problem), operands_(problem, weights) {}
  DeviceCall call() const;
  /// |y - reference| / |reference| over all outputs of one call (tests, and before it is timed).
  double error(cudaStream_t stream) const;

 private:
  GemvArguments arguments(int call) const;

  DenseProblem problem_;
  DenseOperands operands_;
};

}  // namespace coppice::bench
