// Gram matrices that Python passes.
#pragma once

#include <cstdint>

#include "arrays.h"

namespace coppice::python {

/// float64 [cols, cols], a view. Throws InvalidArgument unless it may be a sum of products.
Numbers<double> gram_input(nb::handle gram, std::int64_t cols, int threads);

}  // namespace coppice::python
