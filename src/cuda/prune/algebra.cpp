#include "cuda/prune/algebra.h"

#include <fmt/format.h>

#include <cstddef>
#include <vector>

#include "coppice/error.h"
#include "cuda/check.h"

namespace coppice::cuda {
namespace {

void check(cublasStatus_t status, const char* doing) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(fmt::format("{}: cuBLAS error {}", doing, static_cast<int>(status)));
}

void check(cusolverStatus_t status, const char* doing) {
  if (status != CUSOLVER_STATUS_SUCCESS)
    throw DeviceError(fmt::format("{}: cuSOLVER error {}", doing, static_cast<int>(status)));
}

// Row-major matrices are the transposes of column-major ones: cᵀ = bᵀ aᵀ.
template <typename T, typename Routine>
void multiply_with(Routine routine, cublasHandle_t handle, cublasOperation_t order, T alpha,
                   const Panel<const T>& a, const Panel<const T>& b, T beta, const Panel<T>& c) {
  if (c.rows == 0 || c.cols == 0 || a.cols == 0) return;
  check(routine(handle, order, CUBLAS_OP_N, static_cast<int>(c.cols), static_cast<int>(c.rows),
                static_cast<int>(a.cols), &alpha, b.data, static_cast<int>(b.stride), a.data,
                static_cast<int>(a.stride), &beta, c.data, static_cast<int>(c.stride)),
        "multiplying matrices");
}

}  // namespace

void Algebra::open() try {
  check(call_.cublas_create(&blas_), "starting cuBLAS");
  check(call_.cusolver_create(&solver_), "starting cuSOLVER");
  check(call_.cusolver_create_params(&params_), "starting cuSOLVER");
} catch (...) {
  close();
  throw;
}

void Algebra::close() {
  if (params_ != nullptr) call_.cusolver_destroy_params(params_);
  if (solver_ != nullptr) call_.cusolver_destroy(solver_);
  if (blas_ != nullptr) call_.cublas_destroy(blas_);
}

void Algebra::multiply(float alpha, Panel<const float> a, Panel<const float> b, float beta,
                       Panel<float> c) const {
  multiply_with<float>(call_.sgemm, blas_, CUBLAS_OP_N, alpha, a, b, beta, c);
}

void Algebra::multiply(double alpha, Panel<const double> a, Panel<const double> b, double beta,
                       Panel<double> c) const {
  multiply_with<double>(call_.dgemm, blas_, CUBLAS_OP_N, alpha, a, b, beta, c);
}

void Algebra::multiply_transposed(Panel<const float> a, Panel<const float> b,
                                  Panel<float> c) const {
  multiply_with<float>(call_.sgemm, blas_, CUBLAS_OP_T, 1.0f, a, b, 0.0f, c);
}

// What the routines of cuSOLVER have in common: memory on both sides, and whether they succeeded.
template <typename Size, typename Run>
bool Algebra::solve(const char* what, const Size& size, const Run& run) const {
  std::size_t device_bytes = 0, host_bytes = 0;
  check(size(&device_bytes, &host_bytes), what);
  const DeviceBuffer device(device_bytes), info(sizeof(int));
  std::vector<std::byte> host(host_bytes);
  check(run(device.data(), device_bytes, host.data(), host_bytes, info.as<int>()), what);
  int result = 0;
  check(cudaMemcpy(&result, info.data(), sizeof(result), cudaMemcpyDeviceToHost), what);
  return result == 0;
}

// A lower triangle in rows is an upper one in columns.
bool Algebra::factorise_lower(double* matrix, std::int64_t n) const {
  return solve(
      "factorising a matrix",
      [&](std::size_t* device, std::size_t* host) {
        return call_.potrf_size(solver_, params_, CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, matrix, n,
                                CUDA_R_64F, device, host);
      },
      [&](void* device, std::size_t device_bytes, void* host, std::size_t host_bytes, int* info) {
        return call_.potrf(solver_, params_, CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, matrix, n,
                           CUDA_R_64F, device, device_bytes, host, host_bytes, info);
      });
}

bool Algebra::invert_lower(double* matrix, std::int64_t n) const {
  return solve(
      "inverting a triangle",
      [&](std::size_t* device, std::size_t* host) {
        return call_.trtri_size(solver_, CUBLAS_FILL_MODE_UPPER, CUBLAS_DIAG_NON_UNIT, n,
                                CUDA_R_64F, matrix, n, device, host);
      },
      [&](void* device, std::size_t device_bytes, void* host, std::size_t host_bytes, int* info) {
        return call_.trtri(solver_, CUBLAS_FILL_MODE_UPPER, CUBLAS_DIAG_NON_UNIT, n, CUDA_R_64F,
                           matrix, n, device, device_bytes, host, host_bytes, info);
      });
}

bool Algebra::eigenvectors(double* matrix, std::int64_t n, double* values) const {
  return solve(
      "looking for eigenvectors",
      [&](std::size_t* device, std::size_t* host) {
        return call_.syevd_size(solver_, params_, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_UPPER,
                                n, CUDA_R_64F, matrix, n, CUDA_R_64F, values, CUDA_R_64F, device,
                                host);
      },
      [&](void* device, std::size_t device_bytes, void* host, std::size_t host_bytes, int* info) {
        return call_.syevd(solver_, params_, CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_UPPER, n,
                           CUDA_R_64F, matrix, n, CUDA_R_64F, values, CUDA_R_64F, device,
                           device_bytes, host, host_bytes, info);
      });
}

}  // namespace coppice::cuda
