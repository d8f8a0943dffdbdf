// The steps of the OBS sweep inside of a block of columns (prune/second_order/obs_sweep.cpp). The
// work is small beside the matrix products between blocks: one launch for each step of a group.
#include "cuda/prune/kernels.h"
#include "cuda/prune/launch.h"

namespace coppice::cuda {
namespace {

constexpr int kJointThreads = 128;

// ‖L⁻¹ g_P‖², JointGroup::saving
__device__ inline double saving(const JointArguments& a, int set, const double* gradient) {
  const std::uint8_t* columns = a.columns + set * a.kept;
  const double* l = a.factors + static_cast<std::int64_t>(set) * a.kept * a.kept;
  double sum = 0;
  for (int i = 0; i < a.kept; ++i, l += a.kept) {
    double y = 0;
    for (int j = 0; j <= i; ++j) y += l[j] * gradient[columns[j]];
    sum += y * y;
  }
  return sum;
}

// The largest of an outer choice for a row, of equal ones the first.
__device__ inline int best_inner(const JointArguments& a, int outer, const double* savings) {
  const std::uint16_t* sets = a.outer + static_cast<std::int64_t>(outer) * a.per_outer;
  int best = sets[0];
  for (int i = 1; i < a.per_outer; ++i)
    if (savings[sets[i]] > savings[best]) best = sets[i];
  return best;
}

// Rows [first, first + rows): the outer choice that saves most together, the lowest of equal ones.
__device__ inline int best_outer(const JointArguments& a, std::int64_t first, int rows) {
  __shared__ double most[kJointThreads];
  __shared__ int place[kJointThreads];
  double largest = -1;
  int best = 0;
  for (int o = threadIdx.x; o < a.outers; o += kJointThreads) {
    double total = 0;
    const double* savings = a.savings + first * a.sets;
    for (int r = 0; r < rows; ++r, savings += a.sets) total += savings[best_inner(a, o, savings)];
    if (total > largest) largest = total, best = o;
  }
  most[threadIdx.x] = largest, place[threadIdx.x] = best;
  for (int step = kJointThreads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (threadIdx.x >= step) continue;
    const int other = threadIdx.x + step;
    if (most[other] > most[threadIdx.x] ||
        (most[other] == most[threadIdx.x] && place[other] < place[threadIdx.x]))
      most[threadIdx.x] = most[other], place[threadIdx.x] = place[other];
  }
  __syncthreads();
  return place[0];
}

// JointGroup::settle
__device__ inline void settle(const JointArguments& a, std::int64_t row, int set) {
  const std::uint8_t* columns = a.columns + set * a.kept;
  const double* l = a.factors + static_cast<std::int64_t>(set) * a.kept * a.kept;
  const double* gradient = a.gradients + row * kMaxJointCols;
  float* weights = a.weights + row * a.stride;
  std::uint8_t* keep = a.keep + row * a.stride;
  double y[kMaxJointCols], change[kMaxJointCols];
  for (int i = 0; i < a.kept; ++i) {
    y[i] = 0;
    for (int j = 0; j <= i; ++j) y[i] += l[i * a.kept + j] * gradient[columns[j]];
  }
  for (int c = 0; c < a.cols; ++c) {
    change[c] = weights[c];
    weights[c] = 0;
    keep[c] = 0;
  }
  for (int j = 0; j < a.kept; ++j) {
    double value = 0;
    for (int i = j; i < a.kept; ++i) value += l[i * a.kept + j] * y[i];
    const int c = columns[j];
    weights[c] = static_cast<float>(value);
    change[c] -= weights[c];
    keep[c] = 1;
  }
  for (int j = 0; j < a.cols; ++j) {
    double error = 0;
    for (int i = 0; i <= j; ++i) error += a.inverse[i * a.cols + j] * change[i];
    a.errors[row * a.error_stride + j] = static_cast<float>(error);
  }
}

// One block for a vector.
__global__ void __launch_bounds__(kJointThreads) joint_kernel(const JointArguments a) {
  const RowVector vector = a.vectors[blockIdx.x];
  for (int i = threadIdx.x; i < vector.rows * a.cols; i += kJointThreads) {
    const int r = i / a.cols, c = i - r * a.cols;
    const float* weights = a.weights + (vector.row + r) * a.stride;
    double sum = 0;
    for (int j = 0; j < a.cols; ++j)
      sum += a.curvature[c * a.cols + j] * static_cast<double>(weights[j]);
    a.gradients[(vector.row + r) * kMaxJointCols + c] = sum;
  }
  __syncthreads();
  for (std::int64_t i = threadIdx.x; i < std::int64_t{vector.rows} * a.sets; i += kJointThreads) {
    const std::int64_t r = i / a.sets;
    const int set = static_cast<int>(i - r * a.sets);
    a.savings[(vector.row + r) * a.sets + set] =
        saving(a, set, a.gradients + (vector.row + r) * kMaxJointCols);
  }
  __syncthreads();
  const int outer = best_outer(a, vector.row, vector.rows);
  for (int r = threadIdx.x; r < vector.rows; r += kJointThreads)
    settle(a, vector.row + r, best_inner(a, outer, a.savings + (vector.row + r) * a.sets));
}

// One warp for a row: column by column, the rest of the block following at once.
__global__ void __launch_bounds__(kThreads) eliminate_kernel(const FollowArguments a) {
  const std::int64_t row = std::int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (row >= a.rows) return;
  const int lane = threadIdx.x % 32;
  float *weights = a.weights + row * a.cols, *errors = a.errors + row * a.error_stride;
  const std::uint8_t* keep = a.keep + row * a.cols;
  for (std::int64_t c = a.begin; c < a.end; ++c) {
    float error = 0;
    if (keep[c] == 0) {
      const float* upper = a.upper + c * a.cols;
      error = weights[c] / upper[c];
      __syncwarp();
      if (lane == 0) weights[c] = 0;
      for (std::int64_t k = c + 1 + lane; k < a.block_end; k += 32) weights[k] -= error * upper[k];
      __syncwarp();
    }
    if (lane == 0) errors[c - a.begin] = error;
  }
}

// One warp for a row.
__global__ void __launch_bounds__(kThreads) follow_kernel(const FollowArguments a) {
  const std::int64_t row = std::int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (row >= a.rows) return;
  const float* errors = a.errors + row * a.error_stride;
  for (std::int64_t k = a.end + threadIdx.x % 32; k < a.block_end; k += 32) {
    float weight = a.weights[row * a.cols + k];
    for (std::int64_t c = a.begin; c < a.end; ++c)
      weight -= errors[c - a.begin] * a.upper[c * a.cols + k];
    a.weights[row * a.cols + k] = weight;
  }
}

}  // namespace

void choose_jointly(const JointArguments& a) {
  joint_kernel<<<static_cast<unsigned>(a.vector_count), kJointThreads>>>(a);
  check(cudaGetLastError(), "choosing a group's mask");
}

void eliminate_columns(const FollowArguments& a) {
  eliminate_kernel<<<blocks_for(a.rows, kThreads / 32), kThreads>>>(a);
  check(cudaGetLastError(), "pruning a group's columns");
}

void follow_group(const FollowArguments& a) {
  if (a.end == a.block_end) return;
  follow_kernel<<<blocks_for(a.rows, kThreads / 32), kThreads>>>(a);
  check(cudaGetLastError(), "compensating for a group");
}

void score_weights(const float* weights, std::int64_t stride, const double* factors, float* scores,
                   std::int64_t rows, std::int64_t cols) {
  for_each(rows * cols, "scoring weights", [=] __device__(std::int64_t i) {
    const std::int64_t r = i / cols, c = i - r * cols;
    const double weight = weights[r * stride + c];
    scores[i] = static_cast<float>(fmin(factors[c] * weight * weight, 1e30));
  });
}

}  // namespace coppice::cuda
