// Linear assignment. Not part of the public API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace coppice::prune {

/// The assignment of rows to columns of largest total gain: result[row] is a column, each once.
/// gains: [size, size], finite. O(size^3) at worst: column reduction, augmenting row reduction and
/// shortest augmenting paths, after Jonker and Volgenant, Computing 38 (1987).
std::vector<std::uint32_t> solve_assignment(std::span<const double> gains, std::size_t size);

}  // namespace coppice::prune
