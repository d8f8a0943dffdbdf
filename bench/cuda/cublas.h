// The functions of cuBLAS and cuBLASLt that the baseline calls, found in the libraries that are
// there at run time.
#pragma once

#include <cublasLt.h>
#include <cublas_v2.h>

#include <string>

namespace coppice::bench {

struct Cublas {
// `cublasCreate` and some others are macros for the names with a version, here as well.
#define COPPICE_CUBLAS_FUNCTIONS(X) \
  X(cublasCreate_v2)                \
  X(cublasDestroy_v2)               \
  X(cublasSetStream_v2)             \
  X(cublasSetWorkspace_v2)
#define COPPICE_CUBLASLT_FUNCTIONS(X)     \
  X(cublasLtCreate)                       \
  X(cublasLtDestroy)                      \
  X(cublasLtMatmul)                       \
  X(cublasLtMatmulAlgoGetHeuristic)       \
  X(cublasLtMatmulDescCreate)             \
  X(cublasLtMatmulDescDestroy)            \
  X(cublasLtMatmulDescSetAttribute)       \
  X(cublasLtMatmulPreferenceCreate)       \
  X(cublasLtMatmulPreferenceDestroy)      \
  X(cublasLtMatmulPreferenceSetAttribute) \
  X(cublasLtMatrixLayoutCreate)           \
  X(cublasLtMatrixLayoutDestroy)
#define COPPICE_DECLARE(name) decltype(&::name) name = nullptr;
  COPPICE_CUBLAS_FUNCTIONS(COPPICE_DECLARE)
  COPPICE_CUBLASLT_FUNCTIONS(COPPICE_DECLARE)
#undef COPPICE_DECLARE
  // Overloaded in C++: its type has to be spelled out.
  cublasStatus_t (*cublasGemmEx)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int,
                                 int, const void*, const void*, cudaDataType, int, const void*,
                                 cudaDataType, int, const void*, void*, cudaDataType, int,
                                 cublasComputeType_t, cublasGemmAlgo_t) = nullptr;

  /// The libraries, loaded once. Null if they are not there; `reason` then says so.
  static const Cublas* load(std::string* reason);
};

}  // namespace coppice::bench
