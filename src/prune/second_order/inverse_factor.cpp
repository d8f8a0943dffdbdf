#include "prune/second_order/inverse_factor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "coppice/error.h"
#include "prune/second_order/lapack.h"

namespace coppice::prune {
namespace {

constexpr double kFirstRaisedDamping = 1e-4, kLargestDamping = 1e4;

// H with rows and columns in reverse order, the lower triangle. The reverse makes of LLᵀ the
// product of an upper triangle with its transpose, whose inverse is UᵀU: one factorisation and one
// inverse of a triangle, where inverting H and factorising that takes twice the work.
void load_reversed(const GramView& gram, double mean, double damping, std::vector<double>& h) {
  const std::int64_t n = gram.cols;
  const double scale = 1 / mean;
  for (std::int64_t i = 0; i < n; ++i) {
    const double* from = gram.data + i * n;
    double* to = h.data() + (n - 1 - i) * n;
    for (std::int64_t j = i; j < n; ++j) to[n - 1 - j] = from[j] * scale;
    to[n - 1 - i] += damping_of(from[i], damping);
  }
}

// The lower triangle of the reversed inverse becomes U. @returns false if it does not fit floats
bool store_upper(const std::vector<double>& h, std::int64_t n, std::vector<float>& upper) {
  upper.assign(h.size(), 0.0f);
  bool finite = true;
  for (std::int64_t i = 0; i < n; ++i) {
    const double* from = h.data() + (n - 1 - i) * n;
    float* to = upper.data() + i * n;
    for (std::int64_t j = i; j < n; ++j) {
      to[j] = static_cast<float>(from[n - 1 - j]);
      finite = finite && std::isfinite(to[j]);
    }
    finite = finite && to[i] > 0;
  }
  return finite;
}

}  // namespace

double mean_of_diagonal(const GramView& gram) {
  double sum = 0;
  for (std::int64_t i = 0; i < gram.cols; ++i) {
    const double value = gram.at(i, i);
    if (!std::isfinite(value) || value < 0)
      throw InvalidArgument(
          fmt::format("the Gram matrix has {} at [{}, {}]; a sum of squares is finite and not "
                      "negative",
                      value, i, i));
    sum += value / static_cast<double>(gram.cols);
  }
  return sum;
}

std::vector<double> damped_gram(const GramView& gram, double damping) {
  const std::int64_t n = gram.cols;
  const double scale = 1 / mean_of_diagonal(gram);
  std::vector<double> h(gram.data, gram.data + n * n);
  for (double& value : h) value *= scale;
  for (std::int64_t i = 0; i < n; ++i)
    h[static_cast<std::size_t>(i * n + i)] += damping_of(gram.at(i, i), damping);
  return h;
}

bool invert_damped(const GramView& gram, double mean, double damping, std::vector<float>& upper) {
  const std::int64_t n = gram.cols;
  std::vector<double> h(static_cast<std::size_t>(n * n));
  load_reversed(gram, mean, damping, h);
  return factorise_lower(h.data(), n) && invert_lower(h.data(), n) && store_upper(h, n, upper);
}

std::optional<InverseFactor> factorise_inverse(const GramView& gram, double damping) {
  return factorise_inverse(gram, damping,
                           [&gram](double mean, double used, std::vector<float>& upper) {
                             return invert_damped(gram, mean, used, upper);
                           });
}

std::optional<InverseFactor> factorise_inverse(
    const GramView& gram, double damping,
    const std::function<bool(double, double, std::vector<float>&)>& attempt) {
  const double mean = mean_of_diagonal(gram);
  const std::int64_t n = gram.cols;
  if (!(mean > 0) || !std::isfinite(1 / mean)) return std::nullopt;
  InverseFactor factor;
  factor.cols = n;
  for (std::int64_t i = 0; i < n; ++i) factor.dead += gram.at(i, i) == 0 ? 1 : 0;
  while (damping <= kLargestDamping) {
    factor.damping = damping;
    if (attempt(mean, damping, factor.upper)) return factor;
    damping = std::max(10 * damping, kFirstRaisedDamping);
  }
  return std::nullopt;
}

}  // namespace coppice::prune
