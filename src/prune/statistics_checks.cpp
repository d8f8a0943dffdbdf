#include "prune/statistics_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "coppice/error.h"
#include "core/parallel_for.h"

namespace coppice::prune {
namespace {

// Rows and columns looked at together, so that an entry and its mirror image are both in the cache.
constexpr std::int64_t kTile = 64;
// What rounding may do to an entry, as a share of what its diagonal allows: fp32 sums of some
// thousand products.
constexpr double kRounding = 0.001;

// What a sample may take off a diagonal: squares that are too small for fp32 count as 0, while the
// products of the same input with others may not.
constexpr double kLost = 0x1p-126;

struct Matrix {
  const std::byte* data;
  std::int64_t size;
  double asymmetry;  // as a share of what the diagonal allows
  double at(std::int64_t row, std::int64_t col) const { return double_at(data, row * size + col); }
};

// `most` is what the diagonal allows the entry.
std::string entry_fault(const Matrix& m, std::int64_t i, std::int64_t j, double most,
                        const std::string& what) {
  const double a = m.at(i, j), b = m.at(j, i);
  if (std::fabs(a) <= (1 + kRounding) * most && std::fabs(a - b) <= m.asymmetry * most) return {};
  if (!std::isfinite(a) || !std::isfinite(b))
    return fmt::format("{} has {} at ({}, {})", what, std::isfinite(a) ? b : a, i, j);
  if (std::fabs(a - b) > m.asymmetry * most)
    return fmt::format("{} is not symmetric: {} at ({}, {}), {} at ({}, {})", what, a, i, j, b, j,
                       i);
  return fmt::format("{} is no sum of products: {} at ({}, {}) with {} and {} on the diagonal",
                     what, a, i, j, m.at(i, i), m.at(j, j));
}

// The first fault in rows [begin, end) up to the diagonal.
std::string rows_fault(const Matrix& m, std::int64_t begin, std::int64_t end,
                       std::span<const double> roots, const std::string& what) {
  for (std::int64_t first = 0; first < end; first += kTile) {
    for (std::int64_t i = begin; i < end; ++i) {
      const double root = roots[static_cast<std::size_t>(i)];
      for (std::int64_t j = first; j < std::min(first + kTile, i); ++j) {
        const double most = root * roots[static_cast<std::size_t>(j)], a = m.at(i, j);
        if (std::fabs(a) <= most && a == m.at(j, i)) continue;
        if (std::string fault = entry_fault(m, i, j, most, what); !fault.empty()) return fault;
      }
    }
  }
  return {};
}

std::string first_fault(std::span<const std::string> faults) {
  const auto fault = std::ranges::find_if(faults, [](const auto& text) { return !text.empty(); });
  return fault == faults.end() ? std::string() : *fault;
}

std::string matrix_fault(const Matrix& m, std::int64_t samples, const std::string& what,
                         int threads) {
  const double lost = kLost * static_cast<double>(samples);
  std::vector<double> roots(static_cast<std::size_t>(m.size));
  for (std::int64_t i = 0; i < m.size; ++i) {
    const double diagonal = m.at(i, i);
    if (!std::isfinite(diagonal) || diagonal < 0)
      return fmt::format("{} has {} at ({}, {}), needs a number of 0 or more there", what, diagonal,
                         i, i);
    roots[static_cast<std::size_t>(i)] = std::sqrt(diagonal + lost);
  }
  std::vector<std::string> faults(static_cast<std::size_t>((m.size + kTile - 1) / kTile));
  parallel_for(std::ssize(faults), threads, [&](std::int64_t tile) {
    faults[static_cast<std::size_t>(tile)] =
        rows_fault(m, tile * kTile, std::min(m.size, (tile + 1) * kTile), roots, what);
  });
  return first_fault(faults);
}

}  // namespace

std::string product_fault(const std::byte* data, std::int64_t matrices, std::int64_t size,
                          std::int64_t samples, const std::string& what, int threads,
                          Symmetry symmetry) {
  const double asymmetry = symmetry == Symmetry::exact ? 0 : kRounding;
  if (matrices == 1) return matrix_fault({data, size, asymmetry}, samples, what, threads);
  std::vector<std::string> faults(static_cast<std::size_t>(std::max(threads, 1)));
  parallel_ranges(matrices, threads, [&](std::int64_t begin, std::int64_t end, int thread) {
    std::string& fault = faults[static_cast<std::size_t>(thread)];
    for (std::int64_t i = begin; i < end && fault.empty(); ++i)
      fault = matrix_fault({data + i * size * size * 8, size, asymmetry}, samples,
                           fmt::format("{} {}", what, i), 1);
  });
  return first_fault(faults);
}

std::string square_sums_fault(std::span<const double> sums, const std::byte* gram) {
  const std::int64_t cols = std::ssize(sums);
  for (std::int64_t i = 0; i < cols; ++i) {
    const double sum = sums[static_cast<std::size_t>(i)];
    if (!std::isfinite(sum) || sum < 0)
      return fmt::format("the sum of squares of column {} is {}, needs to be a number of 0 or more",
                         i, sum);
    if (gram == nullptr) continue;
    if (const double diagonal = double_at(gram, i * cols + i); diagonal != sum)
      return fmt::format("the sum of squares of column {} is {}, but {} in the Gram matrix", i, sum,
                         diagonal);
  }
  return {};
}

namespace {

bool in_range(std::int64_t value, std::int64_t most) { return value >= 1 && value <= most; }

template <typename T>
std::string duplicate(const std::vector<T>& sorted, std::string T::*name) {
  const auto twice = std::ranges::adjacent_find(sorted, {}, name);
  return twice == sorted.end() ? std::string() : (*twice).*name;
}

}  // namespace

std::string contents_fault(const StatisticsContents& contents) {
  for (const InputInfo& input : contents.inputs) {
    if (!in_range(input.cols, kMostCols))
      return fmt::format("input '{}' has {} columns, needs 1 to {}", input.name, input.cols,
                         kMostCols);
    if (!in_range(input.samples, kMostSamples))
      return fmt::format("input '{}' has {} samples, needs 1 or more", input.name, input.samples);
  }
  for (const FisherInfo& fisher : contents.fisher) {
    if (!in_range(fisher.blocks, kMostSamples) || !in_range(fisher.block, kMostCols))
      return fmt::format("the Fisher blocks of '{}' are {} of {} weights, need 1 or more each",
                         fisher.weight, fisher.blocks, fisher.block);
    if (!in_range(fisher.samples, kMostSamples))
      return fmt::format("the Fisher blocks of '{}' have {} samples, need 1 or more", fisher.weight,
                         fisher.samples);
  }
  if (const auto name = duplicate(contents.inputs, &InputInfo::name); !name.empty())
    return fmt::format("input '{}' is there twice", name);
  if (const auto name = duplicate(contents.fisher, &FisherInfo::weight); !name.empty())
    return fmt::format("the Fisher blocks of '{}' are there twice", name);
  for (const auto& [weight, input] : contents.weights)
    if (!std::ranges::binary_search(contents.inputs, input, {}, &InputInfo::name))
      return fmt::format("weight '{}' has the input '{}', which is not there", weight, input);
  return {};
}

}  // namespace coppice::prune

namespace coppice {
namespace {

void throw_unless_products(std::span<const double> sums, std::int64_t matrices, std::int64_t size,
                           const std::string& what, int threads) {
  if (std::ssize(sums) != matrices * size * size)
    throw InvalidArgument(fmt::format("{} has {} numbers, needs {} x {} x {}", what, sums.size(),
                                      matrices, size, size));
  // However many samples: what so many may have lost is small beside any number.
  const std::string fault =
      prune::product_fault(std::as_bytes(sums).data(), matrices, size, prune::kMostSamples, what,
                           threads, prune::Symmetry::rounded);
  if (!fault.empty())
    throw InvalidArgument(fmt::format("{}; needed are sums of products x x^T", fault));
}

}  // namespace

void check_gram(std::span<const double> gram, std::int64_t cols, int threads) {
  throw_unless_products(gram, 1, cols, "the Gram matrix", threads);
}

void check_fisher(const FisherStatistics& fisher, int threads) {
  throw_unless_products(fisher.sums, fisher.blocks, fisher.block, "Fisher block", threads);
}

}  // namespace coppice
