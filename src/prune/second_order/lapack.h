// The few routines of BLAS and LAPACK that pruning needs, for row-major matrices. Not part of the
// public API.
#pragma once

#include <cstdint>

namespace coppice::prune {

/// While one lives, routines called from this thread do not start threads of their own: what they
/// compute then does not depend on how many there are. (OpenBLAS built on OpenMP asks OpenMP.)
class SerialBlas {
 public:
  SerialBlas();
  ~SerialBlas();
  SerialBlas(const SerialBlas&) = delete;
  SerialBlas& operator=(const SerialBlas&) = delete;

 private:
  int threads_;
};

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

/// Replaces the lower triangle of a symmetric positive matrix `[n, n]` by L of L Lᵀ; leaves the
/// rest. @returns false if it is not positive
bool factorise_lower(double* matrix, std::int64_t n);

/// Replaces a lower triangle `[n, n]` by its inverse. @returns false if it is singular
bool invert_lower(double* matrix, std::int64_t n);

}  // namespace coppice::prune
