// Dense products by cuBLASLt, loaded when a weight that can use them is packed: programs start
// without it, and run where it is missing. Not part of the public API.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>

#include "coppice/dtype.h"

namespace coppice::cuda {

/// The routines that are called, by their names in the library. Of descriptors the functions that
/// the header's `...Init` call: they need no memory of the host.
struct DenseRoutines {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmulDescInit_internal) init_operation = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_operation = nullptr;
  decltype(&cublasLtMatrixLayoutInit_internal) init_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceInit_internal) init_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
};

/// y = alpha w x (+ c, + bias), w [rows][cols] row by row on 16 bytes, in fp32.
struct DenseProblem {
  Dtype dtype = Dtype::f16;  ///< of w and x
  Dtype out = Dtype::f16;    ///< of y, c and the bias
  bool tf32 = false;         ///< f32: rounded to TF32
  bool x_token_major = false, y_token_major = false;
  bool adds = false;    ///< c, of the layout and stride of y; may be y
  bool biased = false;  ///< [rows], on 16 bytes; token-major y
  std::int64_t rows = 0, cols = 0, tokens = 0;
  std::int64_t w_stride = 0, x_stride = 0, y_stride = 0;
  std::uint32_t x_alignment = 16, y_alignment = 16;  ///< bytes; y's is that of c as well

  std::int64_t workspace_bytes = 0;

  auto operator<=>(const DenseProblem&) const = default;
};

struct DenseOperands {
  const void* w = nullptr;
  const void* x = nullptr;
  void* y = nullptr;
  const void* c = nullptr;
  const void* bias = nullptr;
  float alpha = 1;
  void* workspace = nullptr;  ///< of the problem's size, on 256 bytes
};

class DenseLibrary {
 public:
  /// Of the current device, opened by the first call for it; null where the library is missing.
  static DenseLibrary* of_current_device();

  /// Whether the library has an algorithm for a problem: what is asked once is known from then on.
  bool can_multiply(const DenseProblem& problem);

  /// Enqueues a product. Allocates nothing on the device, does not synchronise, can be captured;
  /// the same bits for the same problem. Safe to call from several threads. Throws DeviceError.
  void multiply(const DenseProblem& problem, const DenseOperands& operands, cudaStream_t stream);

 private:
  struct Way {
    cublasLtMatmulDescOpaque_t operation;
    cublasLtMatrixLayoutOpaque_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
  };

  DenseLibrary(const DenseRoutines& call, cublasLtHandle_t handle) : call_(call), handle_(handle) {}
  std::optional<Way> way_of(const DenseProblem& problem);
  std::optional<Way> find_way(const DenseProblem& problem) const;
  void describe(const DenseProblem& problem, Way& way) const;

  const DenseRoutines& call_;
  cublasLtHandle_t handle_;  // until the process ends
  std::shared_mutex mutex_;
  std::map<DenseProblem, std::optional<Way>> known_;
};

}  // namespace coppice::cuda
