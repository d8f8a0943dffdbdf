// The checks of one weight: is the compressed form exact, and is every product right?
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coppice/sparse_matrix.h"
#include "device.h"

namespace coppice::cli {

/// One product that was compared.
struct ProductCheck {
  std::string backend;  ///< "reference", or "cpu" or "cuda" with its kernel
  std::string kernel;
  std::int64_t tokens = 0;
  double error = 0;  ///< |y - exact| / |exact| (Frobenius norms)
  double bound = 0;  ///< of `error`, explained by sums in fp32
  bool ok() const { return error <= bound; }
};

struct LayerCheck {
  std::vector<ProductCheck> products;
  bool round_trip = false;  ///< decompressing and compressing again gives the same bytes
  bool products_ok() const;
  bool ok() const { return round_trip && products_ok(); }
  /// The product that is nearest to its bound, or beyond it; there is always one.
  const ProductCheck& worst() const;
};

/// The error that products with sums of `terms` numbers in fp32 may have.
double accumulation_bound(std::int64_t terms);

/// Checks a valid compressed weight against its dense form.
/// @param dense the decompressed weight
/// @param tokens products are checked with 1 and with so many tokens, in both activation layouts
/// @param device with cuda products are checked on the GPU as well, where it takes the weight
LayerCheck check_layer(const SparseView& sparse, const DenseView& dense, std::int64_t tokens,
                       int threads, Device device = Device::cpu);

/// How a pruned weight relates to the one it came from.
struct OriginalCheck {
  double kept_magnitude = 1;  ///< share of the sum of |original| at the positions that are kept
  std::int64_t changed = 0;   ///< weights that are neither zero nor the original's bits
};

/// @param pruned, original the same shape and dtype. ±0 count as zero.
OriginalCheck compare_with_original(const DenseView& pruned, const DenseView& original);

}  // namespace coppice::cli
