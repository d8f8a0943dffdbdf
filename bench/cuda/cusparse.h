// cuSPARSE's products of a sparse weight, if the library is there at run time (and its header was
// at build time): CSR, and blocked-ELL for square blocks.
#pragma once

#include <memory>
#include <string>

#include "bench/cuda/cusparse_time.h"
#include "bench/cuda/rotated_activations.h"
#include "bench/cuda/sparse_product.h"

namespace coppice::bench {

enum class CusparseFormat { csr, blocked_ell };

/// The formats that suit a pattern: CSR an element-wise one, blocked-ELL one of square blocks that
/// fill this weight. @returns false for all others.
bool cusparse_format(const BenchCase& c, CusparseFormat* format);

/// Copies of a weight in a format of cuSPARSE. Its products share them.
class CusparseWeight {
 public:
  virtual ~CusparseWeight() = default;
  /// The fastest of the library's algorithms: a matrix-vector product for one token, else
  /// matrix-matrix. Buffers are made, and what can be prepared for a weight is, before it is timed.
  virtual CusparseTime time(const RotatedActivations& activations, const BenchCase& c,
                            cudaStream_t stream) const = 0;
};

/// @returns null, and says why in `reason`, where the library cannot be used. COPPICE_CUSPARSE
/// names its file, if it is not on the path. `weight` must outlive it.
std::unique_ptr<CusparseWeight> make_cusparse(const RotatedWeight& weight, CusparseFormat format,
                                              std::string* reason);

}  // namespace coppice::bench
