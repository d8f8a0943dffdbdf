// The few routines of BLAS and LAPACK that pruning needs, for row-major matrices. They start no
// threads of their own, so that what they compute does not depend on how many there are (OpenBLAS
// built on OpenMP asks OpenMP). Not part of the public API.
#pragma once

#include <cstdint>
#include <vector>

namespace coppice::prune {

/// A row-major matrix inside a larger one.
template <typename T>
struct Panel {
  T* data = nullptr;
  std::int64_t rows = 0, cols = 0, stride = 0;
};

/// c = alpha a b + beta c. a: [m, k], b: [k, n], c: [m, n].
void multiply(float alpha, Panel<const float> a, Panel<const float> b, float beta, Panel<float> c);
void multiply(double alpha, Panel<const double> a, Panel<const double> b, double beta,
              Panel<double> c);

/// c = alpha a bᵀ + beta c. a: [m, k], b: [n, k], c: [m, n].
void multiply_transposed(float alpha, Panel<const float> a, Panel<const float> b, float beta,
                         Panel<float> c);

/// Replaces the lower triangle of a symmetric positive matrix `[n, n]` by L of L Lᵀ; leaves the
/// rest. @returns false if it is not positive
bool factorise_lower(double* matrix, std::int64_t n);

/// Replaces a lower triangle `[n, n]` by its inverse. @returns false if it is singular
bool invert_lower(double* matrix, std::int64_t n);

/// Replaces a symmetric matrix `[n, n]` by its eigenvectors, one in each row. @returns false if
/// they were not found
bool eigenvectors(double* matrix, std::int64_t n, std::vector<double>& values);

}  // namespace coppice::prune
