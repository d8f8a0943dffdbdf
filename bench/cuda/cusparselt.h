// cuSPARSELt's 2:4 product, if the library is there at run time (and its header was at build time).
#pragma once

#include <memory>
#include <string>

#include "bench/cuda/dense.h"

namespace coppice::bench {

class CusparseLtProduct {
 public:
  virtual ~CusparseLtProduct() = default;
  virtual DeviceCall call() const = 0;
  /// Layouts and algorithm found by the library's own search.
  virtual const std::string& name() const = 0;
};

/// The faster of both layouts after the library's search. @returns null, and says why in `reason`,
/// where it cannot be used. COPPICE_CUSPARSELT names the library file, if it is not on the path.
std::unique_ptr<CusparseLtProduct> make_cusparselt(const DenseProblem& problem, cudaStream_t stream,
                                                   std::string* reason);

}  // namespace coppice::bench
