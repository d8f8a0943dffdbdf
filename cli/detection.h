// Which patterns a weight satisfies, its row segments taken into account.
#pragma once

#include <span>
#include <vector>

#include "coppice/sparse_matrix.h"

namespace coppice::cli {

struct Found {
  double density = 1;              ///< share of weights that are not zero
  std::vector<Pattern> satisfied;  ///< tightest first, without `dense`
  /// The tightest, or `dense`.
  Pattern tightest() const { return satisfied.empty() ? Pattern{} : satisfied.front(); }
};

/// Which of `candidates` (the library's standard list if empty) does the weight satisfy, every row
/// segment by itself?
Found find_patterns(const DenseView& dense, const WeightShape& shape,
                    std::span<const Pattern> candidates, int threads);

/// Only the tightest of the standard list: tries a few rows first, so that large weights are not
/// searched for every pattern.
Found find_tightest(const DenseView& dense, const WeightShape& shape, int threads);

}  // namespace coppice::cli
