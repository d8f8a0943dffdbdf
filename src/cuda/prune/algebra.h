// What prune/second_order/lapack.h has for the host, for row-major matrices in device memory, on
// the default stream. The same bits for every call with the same arguments. Not part of the public
// API.
#pragma once

#include <cstdint>

#include "cuda/prune/routines.h"
#include "prune/second_order/lapack.h"

namespace coppice::cuda {

using prune::Panel;

/// The handles of one device. For one thread at a time. All throw DeviceError.
class Algebra {
 public:
  Algebra() : call_(routines()) { open(); }
  Algebra(const Algebra&) = delete;
  Algebra& operator=(const Algebra&) = delete;
  ~Algebra() { close(); }

  /// c = alpha a b + beta c. a: [m, k], b: [k, n], c: [m, n].
  void multiply(float alpha, Panel<const float> a, Panel<const float> b, float beta,
                Panel<float> c) const;
  void multiply(double alpha, Panel<const double> a, Panel<const double> b, double beta,
                Panel<double> c) const;
  /// c = a bᵀ. a: [m, k], b: [n, k], c: [m, n].
  void multiply_transposed(Panel<const float> a, Panel<const float> b, Panel<float> c) const;

  /// Replaces the lower triangle of a symmetric positive matrix `[n, n]` by L of L Lᵀ, and leaves
  /// the rest. @returns false if it is not positive
  bool factorise_lower(double* matrix, std::int64_t n) const;
  /// Replaces a lower triangle `[n, n]` by its inverse. @returns false if it is singular
  bool invert_lower(double* matrix, std::int64_t n) const;
  /// Replaces a symmetric matrix `[n, n]` by its eigenvectors, one in each row. values: device,
  /// [n]. @returns false if they were not found
  bool eigenvectors(double* matrix, std::int64_t n, double* values) const;

 private:
  void open();
  void close();
  template <typename Size, typename Run>
  bool solve(const char* what, const Size& size, const Run& run) const;

  const Routines& call_;
  cublasHandle_t blas_ = nullptr;
  cusolverDnHandle_t solver_ = nullptr;
  cusolverDnParams_t params_ = nullptr;
};

}  // namespace coppice::cuda
