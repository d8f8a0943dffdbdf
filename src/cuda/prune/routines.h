// cuBLAS and cuSOLVER, loaded when they are first needed: programs that do not prune on a GPU start
// without them, and run where they are missing. Not part of the public API.
#pragma once

#include <cublas_v2.h>
#include <cusolverDn.h>

namespace coppice::cuda {

/// The routines that pruning calls, by their names in the libraries.
struct Routines {
  decltype(&cublasCreate_v2) cublas_create = nullptr;
  decltype(&cublasDestroy_v2) cublas_destroy = nullptr;
  decltype(&cublasSgemm_v2) sgemm = nullptr;
  decltype(&cublasDgemm_v2) dgemm = nullptr;
  decltype(&cusolverDnCreate) cusolver_create = nullptr;
  decltype(&cusolverDnDestroy) cusolver_destroy = nullptr;
  decltype(&cusolverDnCreateParams) cusolver_create_params = nullptr;
  decltype(&cusolverDnDestroyParams) cusolver_destroy_params = nullptr;
  decltype(&cusolverDnXpotrf_bufferSize) potrf_size = nullptr;
  decltype(&cusolverDnXpotrf) potrf = nullptr;
  decltype(&cusolverDnXtrtri_bufferSize) trtri_size = nullptr;
  decltype(&cusolverDnXtrtri) trtri = nullptr;
  decltype(&cusolverDnXsyevd_bufferSize) syevd_size = nullptr;
  decltype(&cusolverDnXsyevd) syevd = nullptr;
};

/// Throws DeviceError that names the library if one is missing or too old.
const Routines& routines();

}  // namespace coppice::cuda
