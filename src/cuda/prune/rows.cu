// What ADMM and conjugate gradients do to rows between matrix products. Bound by memory, one pass
// each; sums over a row are taken in double precision by one block, always in the same order.
#include "cuda/prune/kernels.h"
#include "cuda/prune/launch.h"

namespace coppice::cuda {
namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads)
    dot_kernel(const T* a, const T* b, double* out, std::int64_t cols) {
  const std::int64_t first = std::int64_t{blockIdx.x} * cols;
  double sum = 0;
  for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
    sum += static_cast<double>(a[first + c]) * static_cast<double>(b[first + c]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) advance_kernel(const AdvanceArguments a) {
  const std::int64_t first = std::int64_t{blockIdx.x} * a.cols;
  const float* product = a.product + first;
  float *weights = a.weights + first, *residual = a.residual + first;
  float* direction = a.direction + first;
  double curvature = 0;
  for (std::int64_t c = threadIdx.x; c < a.cols; c += kThreads)
    curvature += static_cast<double>(direction[c]) * static_cast<double>(product[c]);
  curvature = block_sum(curvature);
  const double norm = a.norms[blockIdx.x];
  if (!(curvature > 0) || !(norm > 0)) return;  // all threads or none
  const auto length = static_cast<float>(norm / curvature);
  double next = 0;
  for (std::int64_t c = threadIdx.x; c < a.cols; c += kThreads) {
    weights[c] += length * direction[c];
    residual[c] -= length * product[c];
    next += static_cast<double>(residual[c]) * static_cast<double>(residual[c]);
  }
  next = block_sum(next);
  const auto carried = static_cast<float>(next / norm);
  for (std::int64_t c = threadIdx.x; c < a.cols; c += kThreads)
    direction[c] = residual[c] + carried * direction[c];
  if (threadIdx.x == 0) a.norms[blockIdx.x] = next;
}

__global__ void __launch_bounds__(kThreads)
    count_kernel(const std::uint8_t* keep, const std::uint8_t* last, std::uint32_t* counts,
                 std::int64_t cols) {
  const std::int64_t first = std::int64_t{blockIdx.x} * cols;
  std::uint32_t kept = 0, moved = 0;
  for (std::int64_t c = threadIdx.x; c < cols; c += kThreads) {
    kept += keep[first + c];
    moved += keep[first + c] != last[first + c] ? 1 : 0;
  }
  kept = block_sum(kept);
  moved = block_sum(moved);
  if (threadIdx.x == 0) counts[2 * blockIdx.x] = kept, counts[2 * blockIdx.x + 1] = moved;
}

template <typename T>
void launch_dot(const T* a, const T* b, double* out, std::int64_t rows, std::int64_t cols) {
  if (rows == 0) return;
  dot_kernel<<<static_cast<unsigned>(rows), kThreads>>>(a, b, out, cols);
  check(cudaGetLastError(), "multiplying rows");
}

}  // namespace

void subtract(const float* a, const float* b, double* to, std::int64_t count) {
  for_each(count, "subtracting weights", [=] __device__(std::int64_t i) {
    to[i] = static_cast<double>(a[i]) - (b == nullptr ? 0.0 : static_cast<double>(b[i]));
  });
}

void subtract(const float* a, const float* b, float* to, std::int64_t count) {
  for_each(count, "subtracting weights", [=] __device__(std::int64_t i) { to[i] = a[i] - b[i]; });
}

void dot_rows(const double* a, const double* b, double* out, std::int64_t rows, std::int64_t cols) {
  launch_dot(a, b, out, rows, cols);
}

void dot_rows(const float* a, const float* b, double* out, std::int64_t rows, std::int64_t cols) {
  launch_dot(a, b, out, rows, cols);
}

void scale_rows(const float* from, const double* units, float* to, std::int64_t rows,
                std::int64_t cols) {
  for_each(rows * cols, "scaling weights", [=] __device__(std::int64_t i) {
    to[i] = static_cast<float>(static_cast<double>(from[i]) * units[i % cols]);
  });
}

void unscale_rows(const float* from, const double* units, float* to, std::int64_t rows,
                  std::int64_t cols) {
  for_each(rows * cols, "scaling weights back", [=] __device__(std::int64_t i) {
    to[i] = static_cast<float>(static_cast<double>(from[i]) / units[i % cols]);
  });
}

void clear_rest(float* matrix, const std::uint8_t* keep, std::int64_t count) {
  for_each(count, "clearing weights", [=] __device__(std::int64_t i) {
    if (keep[i] == 0) matrix[i] = 0;
  });
}

void advance_rows(const AdvanceArguments& a) {
  advance_kernel<<<static_cast<unsigned>(a.rows), kThreads>>>(a);
  check(cudaGetLastError(), "a step of conjugate gradients");
}

void admm_right_side(const AdmmArguments& a) {
  for_each(a.rows * a.cols, "a step of ADMM", [=] __device__(std::int64_t i) {
    a.product[i] = a.target[i] + a.penalty[i / a.cols] * a.weights[i] - a.dual[i];
  });
}

void admm_divide(const AdmmArguments& a) {
  for_each(a.rows * a.cols, "a step of ADMM", [=] __device__(std::int64_t i) {
    a.turned[i] /= a.eigenvalues[i % a.cols] + a.penalty[i / a.cols];
  });
}

void admm_unproject(const AdmmArguments& a) {
  for_each(a.rows * a.cols, "a step of ADMM", [=] __device__(std::int64_t i) {
    const float penalty = a.penalty[i / a.cols];
    if (penalty > 0) a.weights[i] = a.product[i] + a.dual[i] / penalty;
    const double weight = a.weights[i];
    a.turned[i] = static_cast<float>(fmin(weight * weight, 1e30));
  });
}

void admm_settle(const AdmmArguments& a) {
  for_each(a.rows * a.cols, "a step of ADMM", [=] __device__(std::int64_t i) {
    const float penalty = a.penalty[i / a.cols];
    if (!(penalty > 0)) return;
    const float weight = a.keep[i] != 0 ? a.weights[i] : 0.0f;
    a.weights[i] = weight;
    a.dual[i] += penalty * (a.product[i] - weight);
  });
}

void count_moves(const std::uint8_t* keep, const std::uint8_t* last, std::uint32_t* counts,
                 std::int64_t rows, std::int64_t cols) {
  count_kernel<<<static_cast<unsigned>(rows), kThreads>>>(keep, last, counts, cols);
  check(cudaGetLastError(), "comparing supports");
}

}  // namespace coppice::cuda
