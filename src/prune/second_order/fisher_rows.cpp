#include "prune/second_order/fisher_rows.h"

#include <algorithm>
#include <limits>

#include "prune/second_order/small_matrix.h"

namespace coppice::prune {

double mean_square(const FisherStatistics& fisher, std::int64_t weights) {
  double sum = 0;
  for (std::int64_t b = 0; b < fisher.blocks; ++b)
    for (std::int64_t i = 0; i < fisher.block; ++i)
      sum += fisher.sums[static_cast<std::size_t>((b * fisher.block + i) * fisher.block + i)];
  return sum / static_cast<double>(fisher.samples) / static_cast<double>(weights);
}

const double* FisherModel::sums(std::int64_t row, std::int64_t block) const {
  const std::int64_t square = statistics.block * statistics.block;
  return statistics.sums.data() + (row * blocks_per_row + block) * square;
}

double FisherModel::loss(std::int64_t row, const std::vector<double>& change) const {
  const std::int64_t size = statistics.block, cols = std::ssize(change);
  double total = 0;
  for (std::int64_t b = 0; b < blocks_per_row; ++b) {
    const double* part = sums(row, b);
    const double* delta = change.data() + b * size;
    const std::int64_t count = std::min(size, cols - b * size);
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t j = 0; j < count; ++j) total += delta[i] * part[i * size + j] * delta[j];
  }
  return total / static_cast<double>(statistics.samples);
}

double* FisherRows::block(std::int64_t r, std::int64_t index) {
  return inverses_.data() + (r * blocks_ + index) * size() * size();
}

const double* FisherRows::block(std::int64_t r, std::int64_t index) const {
  return inverses_.data() + (r * blocks_ + index) * size() * size();
}

// Without gradients there is only the damping, and where that is 0 the identity is as good as any.
void FisherRows::invert(std::int64_t row, std::int64_t index, double* out) {
  const std::int64_t n = size();
  const double* sums = model_.sums(row, index);
  const double scale = 1 / static_cast<double>(model_.statistics.samples);
  double largest = std::numeric_limits<double>::min();
  for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, sums[i * n + i] * scale);
  for (double damping = model_.damping;;
       damping = std::max(10 * damping, std::numeric_limits<double>::epsilon() * largest)) {
    std::transform(sums, sums + n * n, out, [scale](double sum) { return sum * scale; });
    for (std::int64_t i = 0; i < n; ++i) out[i * n + i] += damping;
    if (factorise_small(out, static_cast<int>(n))) break;
    if (damping <= model_.damping) ++raised_;
  }
  invert_factor(out, static_cast<int>(n));
}

void FisherRows::load(const RowVector& rows, std::int64_t begin, std::int64_t end,
                      const float* weights) {
  rows_ = rows;
  begin_ = begin;
  end_ = end;
  blocks_ = (end - begin + size() - 1) / size();
  inverses_.resize(static_cast<std::size_t>(rows.rows * blocks_ * size() * size()));
  weights_.resize(static_cast<std::size_t>(rows.rows * (end - begin)));
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    const float* row = weights + (rows.row + r) * cols_;
    std::copy(row + begin, row + end, weights_.begin() + r * (end - begin));
    for (std::int64_t b = 0; b < blocks_; ++b)
      invert(rows.row + r, begin / size() + b, block(r, b));
  }
}

void FisherRows::store(float* weights) const {
  for (std::int64_t r = 0; r < rows_.rows; ++r) {
    const double* from = weights_.data() + r * (end_ - begin_);
    std::transform(from, from + (end_ - begin_), weights + (rows_.row + r) * cols_ + begin_,
                   [](double weight) { return static_cast<float>(weight); });
  }
}

double FisherRows::weight(std::int64_t r, std::int64_t col) const {
  return weights_[static_cast<std::size_t>(r * (end_ - begin_) + col - begin_)];
}

double FisherRows::inverse(std::int64_t r, std::int64_t a, std::int64_t b) const {
  const std::int64_t index = (a - begin_) / size();
  if (index != (b - begin_) / size()) return 0;
  return block(r, index)[(a - begin_) % size() * size() + (b - begin_) % size()];
}

void FisherRows::prune(std::int64_t r, std::int64_t col) {
  const std::int64_t n = size(), index = (col - begin_) / n, i = (col - begin_) % n;
  double* a = block(r, index);
  double* w = weights_.data() + r * (end_ - begin_) + index * n;
  const std::int64_t count = std::min(n, end_ - begin_ - index * n);
  const double* pivot_row = a + i * n;
  const double pivot = pivot_row[i], own = w[i];
  if (pivot > 0) {
    for (std::int64_t j = 0; j < count; ++j) w[j] -= pivot_row[j] / pivot * own;
    for (std::int64_t j = 0; j < count; ++j) {
      if (j == i) continue;
      const double factor = a[j * n + i] / pivot;
      if (factor == 0) continue;
      for (std::int64_t k = 0; k < n; ++k) a[j * n + k] -= factor * pivot_row[k];
      a[j * n + i] = 0;
    }
  }
  std::fill(a + i * n, a + (i + 1) * n, 0.0);
  w[i] = 0;
}

}  // namespace coppice::prune
