// Gram matrices: from what the statistics hold to what cuSOLVER takes, and from its results to what
// the sweep and ADMM read. Bound by memory, one pass each.
#include "cuda/prune/kernels.h"
#include "cuda/prune/launch.h"
#include "prune/second_order/inverse_factor.h"

namespace coppice::cuda {
namespace {

constexpr int kTile = 32;

// One block for a square tile above the diagonal (or on it) and its mirror image.
__global__ void __launch_bounds__(kThreads) mirror_kernel(double* gram, std::int64_t n) {
  __shared__ double tile[kTile][kTile + 1];
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kTile;
  const std::int64_t first_col = std::int64_t{blockIdx.x} * kTile;
  if (first_col < first_row) return;
  const int lane = threadIdx.x % kTile;
  for (int r = threadIdx.x / kTile; r < kTile; r += kThreads / kTile)
    if (first_row + r < n && first_col + lane < n)
      tile[r][lane] = gram[(first_row + r) * n + first_col + lane];
  __syncthreads();
  for (int r = threadIdx.x / kTile; r < kTile; r += kThreads / kTile) {
    const std::int64_t row = first_col + r, col = first_row + lane;
    if (row < n && col < row) gram[row * n + col] = tile[lane][r];
  }
}

}  // namespace

void mirror_upper(double* gram, std::int64_t n) {
  const auto tiles = static_cast<unsigned>((n + kTile - 1) / kTile);
  mirror_kernel<<<dim3(tiles, tiles), kThreads>>>(gram, n);
  check(cudaGetLastError(), "mirroring a Gram matrix");
}

void load_reversed(const double* gram, double mean, double damping, double* h, std::int64_t n) {
  const double scale = 1 / mean;
  for_each(n * n, "reversing a Gram matrix", [=] __device__(std::int64_t index) {
    const std::int64_t i = index / n, j = index - i * n;
    if (j < i) return;
    const double value = gram[index];
    h[(n - 1 - i) * n + n - 1 - j] =
        i == j ? value * scale + prune::damping_of(value, damping) : value * scale;
  });
}

void store_upper(const double* h, float* upper, std::int64_t n, std::uint32_t* bad) {
  for_each(n * n, "storing a factor", [=] __device__(std::int64_t index) {
    const std::int64_t i = index / n, j = index - i * n;
    const float value = j < i ? 0.0f : static_cast<float>(h[(n - 1 - i) * n + n - 1 - j]);
    upper[index] = value;
    if (!isfinite(value) || (i == j && !(value > 0))) atomicAdd(bad, 1);
  });
}

void scale_gram(const double* gram, const double* units, double mean, double damping, double* h,
                float* matrix, std::int64_t n) {
  const double scale = 1 / mean;
  for_each(n * n, "scaling a Gram matrix", [=] __device__(std::int64_t index) {
    const std::int64_t i = index / n, j = index - i * n;
    const double damped =
        gram[index] * scale + (i == j ? prune::damping_of(gram[index], damping) : 0);
    h[index] = damped / (units[i] * units[j]);
    matrix[index] = static_cast<float>(h[index]);
  });
}

void to_float(const double* from, float* to, std::int64_t count) {
  for_each(count, "rounding a matrix",
           [=] __device__(std::int64_t i) { to[i] = static_cast<float>(from[i]); });
}

}  // namespace coppice::cuda
