#include "prune/block_scores.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

namespace coppice::prune {
namespace {

constexpr int kFloatDigits = 24;  // more than a float has would be wasted

// Bits of the largest integer: `terms` of them must fit into 31.
int integer_bits(std::int64_t terms) {
  const auto largest = std::numeric_limits<std::int32_t>::max() / terms;
  return std::min(kFloatDigits,
                  static_cast<int>(std::bit_width(static_cast<std::uint64_t>(largest))) - 1);
}

// floor(log2(score)) of a key that is not zero.
int exponent_of(std::int32_t key) {
  return key >= kInfinityKey ? std::ilogb(kInfinityScore) : std::ilogb(std::bit_cast<float>(key));
}

}  // namespace

BlockScores::BlockScores(const BlockShape& largest)
    : kernels_(panel_kernels()),
      integers_(hwy::AllocateAligned<std::int32_t>(
          static_cast<std::size_t>(largest.cols * largest.pitch))),
      list_(hwy::AllocateAligned<std::int32_t>(
          static_cast<std::size_t>(largest.kept * largest.pitch))) {}

void BlockScores::load(const std::int32_t* keys, const BlockShape& shape) {
  shape_ = shape;
  keys_ = keys;
  const std::ptrdiff_t count = std::ptrdiff_t{shape.cols} * shape.pitch;
  const std::int32_t largest = kernels_.largest(keys, count);
  const std::int64_t terms = std::int64_t{shape.rows} * shape.kept;
  const int bits = integer_bits(terms);
  exponent_ = largest == 0 ? 0 : bits - 1 - exponent_of(largest);
  const Quantisation scale{std::ldexp(1.0f, exponent_ / 2),
                           std::ldexp(1.0f, exponent_ - exponent_ / 2), std::ldexp(1.0f, bits)};
  const bool exact = kernels_.quantise(keys, count, scale, integers_.get());
  // Half a unit for each term, and one for the rounding of doubles.
  slack_ = exact && largest < kInfinityKey ? 0 : terms / 2 + 1;
}

double BlockScores::score(std::span<const std::uint8_t> columns) const {
  std::fill_n(list_.get(), shape_.list_size(), 0);
  for (std::uint8_t col : columns)
    kernels_.push(list_.get(), keys_ + std::ptrdiff_t{col} * shape_.pitch, shape_.kept,
                  shape_.pitch, list_.get());
  return kernels_.sum_scores(list_.get(), static_cast<std::ptrdiff_t>(shape_.list_size()));
}

double BlockScores::column_score(int col) const {
  return kernels_.sum_scores(keys_ + std::ptrdiff_t{col} * shape_.pitch, shape_.pitch);
}

double BlockScores::bound() const {
  std::array<std::uint8_t, 256> all;
  std::iota(all.begin(), all.end(), std::uint8_t{0});
  return score({all.data(), static_cast<std::size_t>(shape_.cols)});
}

void BlockScores::make_list(std::span<const std::uint8_t> columns, std::int32_t* list,
                            int extra) const {
  const int entries = shape_.kept + extra;
  std::fill_n(list, entries * shape_.pitch, 0);
  for (std::uint8_t col : columns) kernels_.push(list, column(col), entries, shape_.pitch, list);
}

double BlockScores::to_units(double score) const { return std::ldexp(score, exponent_); }

double BlockScores::from_units(std::int64_t units) const {
  return std::ldexp(static_cast<double>(units), -exponent_);
}

}  // namespace coppice::prune
