// What makes numbers statistics. Shared by reader, writer and merge. Not part of the public API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "coppice/statistics.h"

namespace coppice::prune {

/// The i-th of doubles that may lie at any address.
inline double double_at(const std::byte* data, std::int64_t i) {
  double value;
  std::memcpy(&value, data + i * 8, sizeof value);
  return value;
}

/// Whether an entry and its mirror image have to be the same number. Files say so; products that
/// were formed by any library differ by its rounding.
enum class Symmetry : std::uint8_t { exact, rounded };

/// What is wrong with [matrices, size, size] doubles as sums of products x x^T, or nothing: finite,
/// symmetric, no entry larger than its diagonal allows (|x_i x_j| sums to at most the root
/// of the product of the sums of squares; rounding in fp32, and products too small for it, are
/// forgiven).
/// @param samples how many products were summed
/// @param what how to call it, such as "the Gram matrix"
std::string product_fault(const std::byte* data, std::int64_t matrices, std::int64_t size,
                          std::int64_t samples, const std::string& what, int threads,
                          Symmetry symmetry = Symmetry::exact);

/// What is wrong with the sums of squares, or nothing: finite, 0 or more, and equal to the diagonal
/// of `gram` unless that is nullptr.
std::string square_sums_fault(std::span<const double> sums, const std::byte* gram);

/// What is wrong with the contents' names, sizes and relations, or nothing.
std::string contents_fault(const StatisticsContents& contents);

/// Samples are counted up to here, where doubles still count one by one.
inline constexpr std::int64_t kMostSamples = std::int64_t{1} << 53;
/// The most columns of an input, and weights in a Fisher block: products of sizes cannot overflow.
inline constexpr std::int64_t kMostCols = std::int64_t{1} << 20;

}  // namespace coppice::prune
