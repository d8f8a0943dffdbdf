#include "prune/second_order/lapack.h"

#include <omp.h>

#include <cstddef>

// Fortran's interface: every BLAS has it, and it needs no header. Character arguments have their
// lengths at the end.
extern "C" {
void sgemm_(const char*, const char*, const int* m, const int* n, const int* k, const float* alpha,
            const float* a, const int* lda, const float* b, const int* ldb, const float* beta,
            float* c, const int* ldc, std::size_t, std::size_t);
void dgemm_(const char*, const char*, const int* m, const int* n, const int* k, const double* alpha,
            const double* a, const int* lda, const double* b, const int* ldb, const double* beta,
            double* c, const int* ldc, std::size_t, std::size_t);
void dpotrf_(const char*, const int* n, double* a, const int* lda, int* info, std::size_t);
void dtrtri_(const char*, const char*, const int* n, double* a, const int* lda, int* info,
             std::size_t, std::size_t);
void dsyevd_(const char*, const char*, const int* n, double* a, const int* lda, double* w,
             double* work, const int* lwork, int* iwork, const int* liwork, int* info, std::size_t,
             std::size_t);
}

namespace coppice::prune {
namespace {

// One thread while it lives, for teams that this thread would start.
class Serial {
 public:
  Serial() : threads_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~Serial() { omp_set_num_threads(threads_); }
  Serial(const Serial&) = delete;
  Serial& operator=(const Serial&) = delete;

 private:
  int threads_;
};

// Row-major matrices are the transposes of column-major ones: cᵀ = bᵀ aᵀ.
template <typename T, typename Routine>
void multiply_with(Routine routine, const char* order, T alpha, const Panel<const T>& a,
                   const Panel<const T>& b, T beta, const Panel<T>& c) {
  if (c.rows == 0 || c.cols == 0 || a.cols == 0) return;
  const Serial serial;
  const int m = static_cast<int>(c.cols), n = static_cast<int>(c.rows),
            k = static_cast<int>(a.cols), lda = static_cast<int>(a.stride),
            ldb = static_cast<int>(b.stride), ldc = static_cast<int>(c.stride);
  routine(order, "N", &m, &n, &k, &alpha, b.data, &ldb, a.data, &lda, &beta, c.data, &ldc, 1, 1);
}

}  // namespace

void multiply(float alpha, Panel<const float> a, Panel<const float> b, float beta, Panel<float> c) {
  multiply_with<float>(sgemm_, "N", alpha, a, b, beta, c);
}

void multiply(double alpha, Panel<const double> a, Panel<const double> b, double beta,
              Panel<double> c) {
  multiply_with<double>(dgemm_, "N", alpha, a, b, beta, c);
}

void multiply_transposed(float alpha, Panel<const float> a, Panel<const float> b, float beta,
                         Panel<float> c) {
  multiply_with<float>(sgemm_, "T", alpha, a, b, beta, c);
}

// A lower triangle in rows is an upper one in columns.
bool factorise_lower(double* matrix, std::int64_t n) {
  const Serial serial;
  const int size = static_cast<int>(n);
  int info = 0;
  dpotrf_("U", &size, matrix, &size, &info, 1);
  return info == 0;
}

bool invert_lower(double* matrix, std::int64_t n) {
  const Serial serial;
  const int size = static_cast<int>(n);
  int info = 0;
  dtrtri_("U", "N", &size, matrix, &size, &info, 1, 1);
  return info == 0;
}

bool eigenvectors(double* matrix, std::int64_t n, std::vector<double>& values) {
  const Serial serial;
  const int size = static_cast<int>(n), ask = -1;
  int info = 0, integers = 0;
  double doubles = 0;
  values.resize(static_cast<std::size_t>(n));
  dsyevd_("V", "U", &size, matrix, &size, values.data(), &doubles, &ask, &integers, &ask, &info, 1,
          1);
  if (info != 0) return false;
  const int work_size = static_cast<int>(doubles);
  std::vector<double> work(static_cast<std::size_t>(work_size));
  std::vector<int> integer_work(static_cast<std::size_t>(integers));
  dsyevd_("V", "U", &size, matrix, &size, values.data(), work.data(), &work_size,
          integer_work.data(), &integers, &info, 1, 1);
  return info == 0;
}

}  // namespace coppice::prune
