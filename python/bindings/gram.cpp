#include "gram.h"

#include <array>

#include "coppice/statistics.h"

namespace coppice::python {

Numbers<double> gram_input(nb::handle gram, std::int64_t cols, int threads) {
  const std::array<std::int64_t, 2> shape{cols, cols};
  Numbers<double> sums = numbers<double>(gram, "gram", shape);
  {
    nb::gil_scoped_release release;
    check_gram(sums.values, cols, threads);
  }
  return sums;
}

}  // namespace coppice::python
