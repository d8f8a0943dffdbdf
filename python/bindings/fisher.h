// Sums of gradient products between Python and C++: float64 [blocks, B, B], and a number of
// samples.
#pragma once

#include <string>
#include <utility>

#include "arrays.h"
#include "coppice/statistics.h"

namespace coppice::python {

/// A copy. Throws InvalidArgument unless the sums are [blocks, B, B] and may be sums of products.
FisherStatistics fisher_input(nb::handle sums, std::int64_t samples, int threads);
/// (sums, samples) of a weight in a file. Throws InvalidArgument if there are none, or FileError.
std::pair<nb::object, std::int64_t> fisher_of(const StatisticsFile& file, const std::string& weight,
                                              int threads);

}  // namespace coppice::python
